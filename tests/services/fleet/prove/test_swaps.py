"""The proof `swaps` holds, and bites."""

from services.fleet.prove import swaps
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import torn_reader


def test_every_load_is_of_one_version(budget: Budget, tell: Tell) -> None:
    """While `current` moves and old versions are pruned, no load is mixed and none fails."""
    tally = swaps.prove(budget, tell)

    assert tally.first is None
    assert tally.violations == 0
    assert tally.trials >= budget.trials * swaps.LOADS_PER_SWAP


def test_a_store_that_reads_current_twice_is_caught(budget: Budget, tell: Tell) -> None:
    """The manifest from one version and the weights from the next: the proof sees both marks."""
    tally = swaps.prove(budget, tell, program=torn_reader.__name__)

    assert tally.violations > 0
    assert tally.first is not None
    assert "parts of the versions with the marks" in tally.first
