"""The proof `outcomes` holds, and bites."""

import pytest

from services.fleet.prove import outcomes
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import tellers_in_two_steps


def test_an_outcome_counts_once(budget: Budget, tell: Tell) -> None:
    """Repeats from eight threads under kills and cuts: one outcome each, and the exact sums, on both dialects."""
    tally = outcomes.prove(budget, tell)

    assert tally.first is None
    assert tally.violations == 0 and tally.trials >= budget.trials


def test_a_planted_bug_is_caught(budget: Budget, tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A posterior that is written after the outcome's commit loses what the killed, or another thread, had learnt."""
    monkeypatch.setattr(outcomes, "DIALECTS", ("sqlite",))
    tally = outcomes.prove(budget, tell, program=tellers_in_two_steps.__name__)

    assert tally.first is not None and "posterior" in tally.first
