"""The proof `claims` holds, and bites."""

from types import ModuleType

import pytest

from services.fleet.prove import claims
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import sleepy_workers, workers_in_two_steps


def test_no_file_is_lost_and_none_consumed_twice(budget: Budget, tell: Tell) -> None:
    """Kills, freezes and cut connections on both dialects: each file is in one version's lineage."""
    tally = claims.prove(budget, tell)

    assert tally.first is None
    assert (tally.trials, tally.violations) == (budget.trials, 0)


@pytest.mark.parametrize("program", [sleepy_workers, workers_in_two_steps])
def test_planted_bug_is_caught(
    program: ModuleType, budget: Budget, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers with a bug, under the same storm, leave tables that the proof calls wrong."""
    monkeypatch.setattr(claims, "DIALECTS", ("sqlite",))
    tally = claims.prove(budget, tell, program=program.__name__)

    assert tally.violations > 0
