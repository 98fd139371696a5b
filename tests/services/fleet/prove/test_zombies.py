"""The proof `zombies` holds, and bites."""

from typing import Any

import pytest
from sqlalchemy import Connection, select

from services.fleet.prove import zombies
from services.fleet.prove.proof import Budget, Tell
from tidewheel.contracts.errors import FenceLost
from tidewheel.ledger import claims, leases, run_lease
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Lease
from tidewheel.ledger.run_lease import RunLease
from tidewheel.ledger.tables import leases as rows


def name_only(db: Database, connection: Connection, lease: Lease) -> None:
    """A guard to which any fence is good."""
    if (
        connection.execute(select(rows.c.name).where(rows.c.name == lease.name, rows.c.until > db.clock())).first()
        is None
    ):
        raise FenceLost("no lease")


def blind_to_time(db: Database, connection: Connection, lease: Lease) -> None:
    """A guard to which a lease never ends by itself."""
    same = (rows.c.name == lease.name) & (rows.c.fence == lease.fence) & (rows.c.until > 0)
    if connection.execute(select(rows.c.name).where(same)).first() is None:
        raise FenceLost("no lease")


def forgetful(self: RunLease, connection: Connection, state: Any, version: Any) -> bool:
    """A publish that cannot be asked for again."""
    leases.guard(self._db, connection, self.lease)
    return True


def test_the_ledger_does_what_the_model_says(budget: Budget, tell: Tell) -> None:
    """On both dialects every answer and every table is the model's, whoever comes back from the dead."""
    tally = zombies.prove(budget, tell)

    assert tally.first is None
    assert (tally.trials, tally.violations) == (budget.trials, 0)


@pytest.mark.parametrize(
    ("where", "name", "bug"),
    [
        (leases, "guard", name_only),
        (leases, "guard", blind_to_time),
        (run_lease.RunLease, "_open_or_settled_as", forgetful),
        (claims, "MAX_ATTEMPTS", 2),
        (claims, "consume", lambda db, connection, run_id: None),
    ],
    ids=["guard by name only", "guard without time", "lost answer not known", "poison too early", "nothing consumed"],
)
def test_a_planted_bug_is_caught(
    where: object, name: str, bug: object, budget: Budget, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bug in the real ledger makes the proof name a step that should have ended otherwise."""
    monkeypatch.setattr(where, name, bug)
    monkeypatch.setattr(zombies, "DIALECTS", ("sqlite",))
    tally = zombies.prove(budget, tell)

    assert tally.violations > 0
    assert tally.first is not None
    assert "the last steps" in tally.first
