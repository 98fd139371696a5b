"""The proof `models` holds, and bites."""

from dataclasses import replace

from services.fleet.prove import models
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import credulous_reader


def test_no_mutated_model_harms_its_reader(budget: Budget, tell: Tell) -> None:
    """Flips, cuts, splices and odd numbers in every format: refused, or answered in finite numbers."""
    tally = models.prove(budget, tell)

    assert (tally.violations, tally.first) == (0, None)
    assert tally.trials == budget.trials
    assert "refused" in tally.figures[0]


def test_a_reader_that_believes_its_libraries_is_caught(budget: Budget, tell: Tell) -> None:
    """It meets what XGBoost raises, or worse."""
    tally = models.prove(replace(budget, trials=48), tell, program=credulous_reader.__name__)

    assert tally.violations >= 1
