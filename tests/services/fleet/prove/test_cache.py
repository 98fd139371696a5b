"""The proof `cache` holds, and bites."""

from dataclasses import replace

from services.fleet.prove import cache
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import credulous_cache_user


def test_a_cache_that_is_cleared_and_damaged_serves_what_was_saved_or_nothing(budget: Budget, tell: Tell) -> None:
    """By savers, readers, clearers and bit flippers in processes of their own."""
    tally = cache.prove(budget, tell)

    assert tally.first is None
    assert tally.violations == 0
    assert tally.trials >= budget.trials


def test_a_cache_that_believes_every_byte_is_caught(budget: Budget, tell: Tell) -> None:
    """A flipped bit of a number reaches a reader: the proof sees that nobody saved it."""
    tally = cache.prove(replace(budget, trials=60), tell, program=credulous_cache_user.__name__, rounds=["damaged"])

    assert tally.violations > 0
