"""The proof `hostile` holds, and bites."""

from dataclasses import replace

from services.fleet.prove import hostile
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import trusting_reader


def test_every_hostile_bundle_is_refused(budget: Budget, tell: Tell) -> None:
    """With its reason, within memory and time; the trap that pickles would spring stays unsprung."""
    tally = hostile.prove(budget, tell)

    assert (tally.violations, tally.first) == (0, None)
    assert tally.trials >= 40


def test_a_reader_that_trusts_a_digest_is_caught(budget: Budget, tell: Tell) -> None:
    """It loads arrays of objects, whose pickle runs."""
    tally = hostile.prove(replace(budget, trials=10), tell, program=trusting_reader.__name__)

    assert tally.violations > 1
