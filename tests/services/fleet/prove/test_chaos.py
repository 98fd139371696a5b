"""The proof `chaos` holds, and bites. One trial each: three interpreters of two seconds' start make a crew."""

from dataclasses import replace

import pytest

from services.fleet.prove import chaos
from services.fleet.prove.apparatus import crew
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import early_trainer


def test_every_file_is_trained_once_whatever_is_killed(
    budget: Budget, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet's own trainers on Postgres: the one at work is killed, the other takes over and ends the run."""
    monkeypatch.setattr(chaos, "DIALECTS", ("postgresql",))
    tally = chaos.prove(replace(budget, trials=1), tell, kinds=("kill worker",))

    assert tally.first is None
    assert (tally.trials, tally.violations) == (1, 0)
    assert any("takeover after kill worker" in figure for figure in tally.figures)


def test_a_trainer_that_consumes_too_early_is_seen(budget: Budget, tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the claim is the consumption. The fit that is killed takes its file with it."""
    monkeypatch.setattr(chaos, "DIALECTS", ("sqlite",))
    monkeypatch.setattr(crew, "TRAINERS", ("trainer-1",))
    tally = chaos.prove(replace(budget, trials=1), tell, trainer=early_trainer.__name__, kinds=("kill fit",))

    assert tally.first is not None
    assert "was trained 0 times" in tally.first
