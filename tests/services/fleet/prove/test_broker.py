"""The proof `broker` holds, and bites."""

from services.fleet.prove import broker
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import deaf_trainer


def test_work_goes_on_after_the_broker_s_troubles(budget: Budget, tell: Tell) -> None:
    """Runs ordered while the broker is silent, stalled, broken off, gone or emptied are worked off once, soon."""
    tally = broker.prove(budget, tell)

    assert tally.first is None
    assert (tally.trials, tally.violations) == (budget.trials, 0)


def test_a_worker_without_a_health_check_is_caught(budget: Budget, tell: Tell) -> None:
    """Planted: such a worker never notices that its connection has died, and no run is worked off any more."""
    tally = broker.prove(budget, tell, trainer=deaf_trainer.__name__, troubles=("silent",), bound=20.0)

    assert tally.first is not None
    assert "silent" in tally.first and "no run was worked off within 20 s" in tally.first
