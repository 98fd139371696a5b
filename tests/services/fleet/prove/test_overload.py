"""The proof `overload` holds, and bites. The figure is the long form's: a busy machine may take a second here."""

from dataclasses import replace

from services.fleet.prove import overload
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import busy_loop_cli
from tidewheel.contracts.roles import Role


def test_health_is_answered_beside_more_clients_than_slots(budget: Budget, tell: Tell) -> None:
    """Everybody is served, or told when to come back."""
    tally = overload.prove(budget, tell, bound_ms=1_000.0)

    assert tally.first is None
    assert (tally.trials, tally.violations) == (budget.trials, 0)
    assert len(tally.figures) == 2


def test_work_in_the_event_loop_is_caught(budget: Budget, tell: Tell) -> None:
    """Planted: requests of half a second are worked off where the others are answered."""
    few = replace(budget, trials=10)
    tally = overload.prove(few, tell, module=busy_loop_cli.__name__, roles=(Role.PREDICTOR,), longest_each=1)

    assert tally.first is not None
    assert "probes took over 100 ms" in tally.first or "/health gave no answer" in tally.first
