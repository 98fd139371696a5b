"""Backfills: history that is fetched page by page. The cursor is theirs alone; no watermark follows from it."""

import builtins
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, cast, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.messages import IngestBackfill
from tidewheel.contracts.states import BackfillState
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.engine import Database
from tidewheel.ledger.leases import guard
from tidewheel.ledger.outbox import post
from tidewheel.ledger.records import Backfill, Lease
from tidewheel.ledger.streams import stream_row
from tidewheel.ledger.tables import backfills, streams
from tidewheel.ledger.tables import leases as lease_rows


def lease_name(backfill_id: int | str) -> str:
    """The right to work on a backfill."""
    return f"backfill:{backfill_id}"


class Backfills:
    """What was asked for, one row for each stream and interval, ever."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def start(self, key: StreamKey, start: UtcMillis, end: UtcMillis) -> Backfill:
        """The backfill of that stream and interval: a new one with its hint, or the known one.

        A failed or cancelled one goes on from where it stood; a finished one stays finished.

        Raises:
            NotFound: the stream was never registered.
        """
        insert = postgresql.insert if self._db.dialect == "postgresql" else sqlite.insert
        now = self._db.clock()
        values = {"start_time": start, "end_time": end, "cursor": start, "state": BackfillState.RUNNING, "fetched": 0}
        with self._db.write() as connection:
            stream = stream_row(connection, key).id
            new = insert(backfills).values(stream_id=stream, created_at=now, changed_at=now, **values)
            made = connection.execute(new.on_conflict_do_nothing().returning(backfills.c.id)).scalar_one_or_none()
            same = (backfills.c.stream_id == stream) & (backfills.c.start_time == start) & (backfills.c.end_time == end)
            stopped = backfills.c.state.in_([BackfillState.FAILED, BackfillState.CANCELLED])
            again = connection.execute(
                update(backfills)
                .where(same, stopped)
                .values(state=BackfillState.RUNNING, reason=None, changed_at=now)
                .returning(backfills.c.id)
            ).scalar_one_or_none()
            for backfill_id in (made, again):
                if backfill_id is not None:
                    post(self._db, connection, IngestBackfill.task, {"backfill_id": backfill_id})
            return _backfill(connection.execute(_select().where(same)).one())

    def get(self, backfill_id: int) -> Backfill:
        """One backfill.

        Raises:
            NotFound: there is no such backfill.
        """
        with self._db.read() as connection:
            return _read(connection, backfill_id)

    def list(self, limit: int = 50) -> builtins.list[Backfill]:
        """The newest ones, newest first."""
        with self._db.read() as connection:
            rows = connection.execute(_select().order_by(backfills.c.id.desc()).limit(limit)).all()
        return [_backfill(row) for row in rows]

    def of(self, key: StreamKey) -> builtins.list[Backfill]:
        """Those of one stream, newest first."""
        with self._db.read() as connection:
            rows = connection.execute(_select().where(streams.c.key == str(key)).order_by(backfills.c.id.desc())).all()
        return [_backfill(row) for row in rows]

    def stale(self) -> builtins.list[Backfill]:
        """Running ones that nobody works on: without a live lease, or with a dead holder."""
        name = literal(lease_name("")) + cast(backfills.c.id, Text)
        live = (lease_rows.c.name == name) & (lease_rows.c.until > self._db.clock())
        query = (
            _select()
            .add_columns(lease_rows.c.pulse)
            .join(lease_rows, live, isouter=True)
            .where(backfills.c.state == BackfillState.RUNNING)
            .order_by(backfills.c.id)
        )
        with self._db.read() as connection:
            return [
                _backfill(row)
                for row in connection.execute(query).all()
                if row.pulse is None or self._db.pulse.stopped(connection, row.pulse)
            ]

    def advance(self, lease: Lease, backfill_id: int, cursor: UtcMillis, fetched: int) -> Backfill:
        """Write down that everything before `cursor` is stored; done at the end. Unless it was cancelled meanwhile.

        Raises:
            FenceLost: the lease has ended.
        """
        with self._db.write() as connection:
            guard(self._db, connection, lease)
            known = _read(connection, backfill_id)
            state = BackfillState.DONE if cursor >= known.end else BackfillState.RUNNING
            self._write(
                connection, backfill_id, cursor=cursor, fetched=known.fetched + fetched, state=state, reason=None
            )
            return _read(connection, backfill_id)

    def note(self, lease: Lease, backfill_id: int, reason: str, *, failed: bool) -> None:
        """Write down why it cannot go on: for good (`failed`), or for now.

        Raises:
            FenceLost: the lease has ended.
        """
        state = BackfillState.FAILED if failed else BackfillState.RUNNING
        with self._db.write() as connection:
            guard(self._db, connection, lease)
            self._write(connection, backfill_id, state=state, reason=reason)

    def hint(self, backfill_id: int) -> None:
        """Leave a hint that it has pages to fetch."""
        with self._db.write() as connection:
            post(self._db, connection, IngestBackfill.task, {"backfill_id": backfill_id})

    def cancel(self, backfill_id: int, actor: str) -> Backfill:
        """Stop a running one after the page in hand; what came stays. One that has ended stays as it is.

        Raises:
            NotFound: there is no such backfill.
        """
        with self._db.write() as connection:
            self._write(connection, backfill_id, state=BackfillState.CANCELLED, reason=f"cancelled by {actor}")
            return _read(connection, backfill_id)

    def _write(self, connection: Connection, backfill_id: int, **values: Any) -> None:
        running = (backfills.c.id == backfill_id) & (backfills.c.state == BackfillState.RUNNING)
        connection.execute(update(backfills).where(running).values(changed_at=self._db.clock(), **values))


def _select() -> Select[Any]:
    return select(backfills, streams.c.key).join(streams, streams.c.id == backfills.c.stream_id)


def _read(connection: Connection, backfill_id: int) -> Backfill:
    row = connection.execute(_select().where(backfills.c.id == backfill_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no backfill {backfill_id}; ask GET /backfill for those that are")
    return _backfill(row)


def _backfill(row: Row[Any]) -> Backfill:
    return Backfill(
        id=row.id,
        key=StreamKey.parse(row.key),
        start=row.start_time,
        end=row.end_time,
        cursor=row.cursor,
        state=BackfillState(row.state),
        fetched=row.fetched,
        reason=row.reason,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )
