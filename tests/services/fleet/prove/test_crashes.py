"""The proof `crashes` holds, and bites."""

from dataclasses import replace

import pytest

from services.fleet.prove import crashes
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import forgets_files, forgets_folders


def test_every_crash_leaves_the_old_or_the_new(budget: Budget, tell: Tell) -> None:
    """Reader, keeper and ingester go on from each state that is drawn."""
    tally = crashes.prove(budget, tell)

    assert (tally.trials, tally.violations, tally.first) == (budget.trials, 0, None)


@pytest.mark.parametrize("program", [forgets_files, forgets_folders], ids=["files", "folders"])
def test_a_missing_fsync_is_caught(budget: Budget, tell: Tell, program: object) -> None:
    """Of files, or of folders: among few states there are some from which the loop does not come back."""
    tally = crashes.prove(replace(budget, trials=20), tell, program=program.__name__)  # type: ignore[attr-defined]

    assert tally.violations > 0
