"""The proof `broker` holds, and bites. Here every wait is shorter than in the long form: the mechanism is the same."""

from functools import partial

from services.fleet.prove import broker
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import deaf_trainer, wakeful_trainer

prove = partial(broker.prove, longest=0.5, hint_seconds=1.0)


def test_work_goes_on_after_the_broker_s_troubles(budget: Budget, tell: Tell) -> None:
    """Runs ordered while the broker is silent, broken off, gone or emptied are worked off once, soon."""
    troubles = ("silent", "reset", "kill", "flush")
    tally = prove(budget, tell, trainer=wakeful_trainer.__name__, troubles=troubles)

    assert tally.first is None
    assert (tally.trials, tally.violations) == (len(troubles), 0) == (budget.trials, 0)
    assert tally.figures[0].startswith("slowest return ")


def test_a_worker_without_a_health_check_is_caught(budget: Budget, tell: Tell) -> None:
    """Planted: such a worker never notices that its connection has died, and no run is worked off any more."""
    tally = prove(budget, tell, trainer=deaf_trainer.__name__, troubles=("silent",), bound=8.0)

    assert tally.first is not None
    assert "silent" in tally.first and "no run was worked off within 8 s" in tally.first
