"""The proof `secrets` holds, and bites."""

from dataclasses import replace

from services.fleet.prove import secrets
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import unmasked_cli


def test_commands_that_fail_show_no_secret(budget: Budget, tell: Tell) -> None:
    """Settings, addresses and keys that are wrong are told without their secrets."""
    tally = secrets.prove(budget, tell)

    assert tally.first is None
    assert tally.trials >= budget.trials


def test_a_command_line_that_masks_nothing_is_caught(budget: Budget, tell: Tell) -> None:
    """Planted: masking is off."""
    tally = secrets.prove(replace(budget, trials=1), tell, program=unmasked_cli.__name__)

    assert tally.violations > 0
    assert tally.first is not None
    assert "ledger password" in tally.first
