"""Kill switches: while a row stands, no promotion moves a champion and the pairs that it covers keep what they have."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import BadInput, Conflict, NotFound
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger.control.audit import write_down
from tidewheel.ledger.control.pairs import Pair, lock_every_pair, lock_pair, save
from tidewheel.ledger.control.records import FLEET, KillSwitch
from tidewheel.ledger.control.tables import kill_switches
from tidewheel.ledger.engine import Database

STEP = "kill_switch"  #: of a verdict, and the code of a refusal


class Switches:
    """What is frozen. A switch latches: only `clear` ends it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def trip(self, scope: PairKey | None, actor: str, reason: str, cause: str) -> KillSwitch:
        """Freeze a pair, or the whole fleet where `scope` is None; a switch that is tripped already stays as it is.

        Once this returns, every decision that is not committed yet heeds it, and every promotion.

        Raises:
            BadInput: no reason is given.
            NotFound: nothing was ever registered for the pair.
        """
        _check_reason(reason)
        with self._db.write() as connection:
            self._lock(connection, scope)
            return trip(self._db, connection, scope, actor, reason, cause)[0]

    def clear(self, scope: PairKey | None, actor: str, reason: str) -> KillSwitch:
        """End the switch of a pair, or of the fleet where `scope` is None; the pair's drawdown counts from here on.

        Raises:
            BadInput: no reason is given.
            NotFound: `not_tripped`, or nothing was ever registered for the pair.
        """
        _check_reason(reason)
        with self._db.write() as connection:
            pairs = self._lock(connection, scope)
            row = connection.execute(
                delete(kill_switches).where(kill_switches.c.scope == _scope(scope)).returning(kill_switches)
            ).one_or_none()
            if row is None:
                raise NotFound(f"the kill switch of {_scope(scope)} is not tripped", code="not_tripped")
            if scope is not None:
                for pair in pairs:
                    pair.peak = pair.realised
                save(connection, pairs)
            cleared = _switch(row)
            write_down(self._db, connection, actor, "switch.clear", cleared.scope, reason, {"was": cleared.reason})
            return cleared

    def tripped(self) -> list[KillSwitch]:
        """All switches that stand, by scope."""
        with self._db.read() as connection:
            rows = connection.execute(select(kill_switches).order_by(kill_switches.c.scope)).all()
        return [_switch(row) for row in rows]

    def _lock(self, connection: Connection, scope: PairKey | None) -> list[Pair]:
        return lock_every_pair(connection) if scope is None else [lock_pair(connection, scope)]


def trip(
    db: Database, connection: Connection, scope: PairKey | None, actor: str, reason: str, cause: str
) -> tuple[KillSwitch, bool]:
    """Trip inside the transaction of a caller who holds the pairs' locks; the switch that stands, and if it is new."""
    upsert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    _one_at_a_time(db, connection)
    new = upsert(kill_switches).values(
        scope=_scope(scope), tripped_at=db.clock(), tripped_by=actor, reason=reason, cause=cause
    )
    made = connection.execute(new.on_conflict_do_nothing().returning(kill_switches)).one_or_none()
    if made is not None:
        write_down(db, connection, actor, "switch.trip", _scope(scope), reason, {"cause": cause})
        return _switch(made), True
    standing = select(kill_switches).where(kill_switches.c.scope == _scope(scope))
    return _switch(connection.execute(standing).one()), False


def covering(connection: Connection, keys: Iterable[PairKey]) -> dict[PairKey, KillSwitch]:
    """The switch that freezes each pair, the fleet's before its own; pairs that nothing freezes are left out."""
    wanted = list(keys)
    scopes = [FLEET, *map(str, wanted)]
    rows = connection.execute(select(kill_switches).where(kill_switches.c.scope.in_(scopes))).all()
    standing = {row.scope: _switch(row) for row in rows}
    found = {key: standing.get(FLEET) or standing.get(str(key)) for key in wanted}
    return {key: switch for key, switch in found.items() if switch is not None}


def refuse_promotion(db: Database, connection: Connection) -> None:
    """Let no champion move forward while a switch stands; holds for the rest of the caller's transaction.

    Raises:
        Conflict: `kill_switch`.
    """
    switch = standing(db, connection)
    if switch is not None:
        raise Conflict(f"{_why(switch)}; no model is promoted until an admin clears it (a rollback is)", code=STEP)


def heed(db: Database, connection: Connection, verdict: Verdict) -> Verdict:
    """The verdict, with a refusal at its end where it passed and a switch stands."""
    switch = standing(db, connection) if verdict.passed else None
    if switch is None:
        return verdict
    numbers = {"scope": switch.scope, "tripped_at": switch.tripped_at, "cause": switch.cause}
    refusal = StepResult(step=STEP, passed=False, reason=_why(switch), numbers=numbers)
    return Verdict(steps=(*verdict.steps, refusal))


def standing(db: Database, connection: Connection) -> KillSwitch | None:
    """The switch that was tripped first of those that stand; the answer holds for the rest of the transaction."""
    _one_at_a_time(db, connection)
    row = connection.execute(select(kill_switches).order_by(kill_switches.c.tripped_at).limit(1)).one_or_none()
    return None if row is None else _switch(row)


def _one_at_a_time(db: Database, connection: Connection) -> None:
    """A promotion and a trip never pass each other: the later one sees what the earlier did."""
    db.lock(connection, "kill_switches")


def _why(switch: KillSwitch) -> str:
    return f"the kill switch of {switch.scope} was tripped by {switch.tripped_by}: {switch.reason}"


def _scope(scope: PairKey | None) -> str:
    return FLEET if scope is None else str(scope)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise BadInput("a kill switch needs a reason: say why, for whoever reads it later")


def _switch(row: Row[Any]) -> KillSwitch:
    return KillSwitch(
        scope=row.scope, tripped_at=row.tripped_at, tripped_by=row.tripped_by, reason=row.reason, cause=row.cause
    )
