"""Runs: asked for, taken up under a lease, finished once."""

import builtins
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Text, cast, delete, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.messages import TrainRun
from tidewheel.contracts.states import RunState
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger import claims, leases
from tidewheel.ledger.engine import Database
from tidewheel.ledger.outbox import post
from tidewheel.ledger.records import Lease, Run
from tidewheel.ledger.run_lease import RunLease
from tidewheel.ledger.run_rows import lease_name, read_run, select_runs, to_run
from tidewheel.ledger.tables import leases as lease_rows
from tidewheel.ledger.tables import runs

MAX_ATTEMPTS = 5  #: a run whose workers die this often is given up
_DIED = "its workers died or lost their lease on it"
_ACTIVE = (RunState.QUEUED, RunState.RUNNING)


class Runs:
    """Training runs. Each consumer has at most one that is not finished."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def start_or_join(
        self,
        consumer: str,
        family: str,
        trigger: str,
        *,
        schedule_key: str | None = None,
        params: Mapping[str, Any] | None = None,
        since: UtcMillis | None = None,
    ) -> tuple[Run, bool]:
        """A new queued run with its hint, or the one that stands in its way, and whether it was joined.

        A `schedule_key` names a tick of a schedule: whoever uses it again gets the run of the first time. With `since`
        a run that ended then or later is joined, too: who has been asking since then needs no other.
        """
        insert = postgresql.insert if self._db.dialect == "postgresql" else sqlite.insert
        start = (
            insert(runs)
            .values(
                consumer=consumer,
                family=family,
                trigger=trigger,
                schedule_key=schedule_key,
                state=RunState.QUEUED,
                params=dict(params or {}),
                progress={},
                cancel_requested=False,
                created_at=self._db.clock(),
            )
            .on_conflict_do_nothing()
            .returning(runs.c.id)
        )
        with self._db.write() as connection:
            # Again, because the run in the way may finish between the two statements.
            while (run_id := connection.execute(start).scalar_one_or_none()) is None:
                joined = _in_the_way(connection, consumer, schedule_key)
                if joined is not None:
                    return joined, True
            # Only now: what was active when the first statement looked may have ended before it inserted.
            ended = None if since is None else _ended(connection, consumer, since)
            if ended is not None:
                connection.execute(delete(runs).where(runs.c.id == run_id))
                return ended, True
            post(self._db, connection, TrainRun.task, {"run_id": run_id})
            return read_run(connection, run_id), False

    def get(self, run_id: int) -> Run:
        """One run.

        Raises:
            NotFound: there is no such run.
        """
        with self._db.read() as connection:
            return read_run(connection, run_id)

    def list(self, limit: int = 50, consumer: str | None = None) -> builtins.list[Run]:
        """The newest runs, newest first; of one consumer where it is named."""
        query = select_runs().order_by(runs.c.id.desc()).limit(limit)
        if consumer is not None:
            query = query.where(runs.c.consumer == consumer)
        with self._db.read() as connection:
            return [to_run(row) for row in connection.execute(query).all()]

    def lease(self, run_id: int, owner: str, ttl_ms: int) -> RunLease | None:
        """Take a run up: the right to work on it, or None where it is final or somebody holds it.

        What a dead worker held is free again afterwards, with that attempt on its record. A run whose workers
        died `MAX_ATTEMPTS` times is given up here, and one that a person cancelled ends here.

        Raises:
            NotFound: there is no such run.
        """
        with self._db.write() as connection:
            if read_run(connection, run_id).state.final:
                return None
            lease = leases.acquire(self._db, connection, lease_name(run_id), owner, ttl_ms)
            if lease is None:
                return None
            # Always lease before run: the other order would deadlock with a publish.
            connection.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update())
            run = read_run(connection, run_id)
            claims.give_back(self._db, connection, run_id, counted=True)
            ending = _ending(run)
            if ending is not None:
                self._end(connection, run_id, *ending)
            if ending is not None or run.state.final:
                leases.release(connection, lease)
                return None
            return RunLease(self._db, self._take(connection, run, lease), lease)

    def cancel(self, run_id: int, actor: str) -> Run:
        """Cancel a queued run at once; ask a running one to stop. A final run stays as it is.

        Raises:
            NotFound: there is no such run.
        """
        reason = f"cancelled by {actor}"
        queued = (runs.c.id == run_id) & (runs.c.state == RunState.QUEUED)
        running = (runs.c.id == run_id) & (runs.c.state == RunState.RUNNING)
        with self._db.write() as connection:
            connection.execute(
                update(runs)
                .where(queued)
                .values(
                    state=RunState.CANCELLED, reason=reason, cancel_requested=True, finished_at=self._db.clock()
                )
            )  # fmt: skip
            connection.execute(update(runs).where(running).values(cancel_requested=True, reason=reason))
            return read_run(connection, run_id)

    def stale(self) -> builtins.list[Run]:
        """Runs that nobody works on: queued, or running without a live lease or a living holder.

        The keeper sends their hints again.
        """
        name = literal(lease_name("")) + cast(runs.c.id, Text)
        live = (lease_rows.c.name == name) & (lease_rows.c.until > self._db.clock())
        query = (
            select_runs()
            .add_columns(lease_rows.c.pulse)
            .join(lease_rows, live, isouter=True)
            .where(runs.c.state.in_(_ACTIVE))
            .order_by(runs.c.id)
        )
        with self._db.read() as connection:
            return [
                to_run(row)
                for row in connection.execute(query).all()
                if row.state == RunState.QUEUED or row.pulse is None or self._db.pulse.stopped(connection, row.pulse)
            ]

    def _take(self, connection: Connection, run: Run, lease: Lease) -> Run:
        connection.execute(
            update(runs)
            .where(runs.c.id == run.id)
            .values(
                state=RunState.RUNNING,
                attempts=run.attempts + 1,
                fence=lease.fence,
                progress={},
                claimed_files=0,
                new_bars=0,
                window_bars=0,
                started_at=self._db.clock() if run.started_at is None else run.started_at,
            )
        )
        return read_run(connection, run.id)

    def _end(self, connection: Connection, run_id: int, state: RunState, reason: str) -> None:
        connection.execute(
            update(runs)
            .where(runs.c.id == run_id)
            .values(state=state, reason=reason, finished_at=self._db.clock())
        )  # fmt: skip


def _in_the_way(connection: Connection, consumer: str, schedule_key: str | None) -> Run | None:
    active = (runs.c.consumer == consumer) & runs.c.state.in_(_ACTIVE)
    # A run asked for by hand has no key, and SQL would find every other one that has none.
    for reason in [active] if schedule_key is None else [runs.c.schedule_key == schedule_key, active]:
        row = connection.execute(select_runs().where(reason)).one_or_none()
        if row is not None:
            return to_run(row)
    return None


def _ended(connection: Connection, consumer: str, since: UtcMillis) -> Run | None:
    """The newest run of the consumer that ended then or later."""
    ended = (runs.c.consumer == consumer) & (runs.c.finished_at >= since)
    row = connection.execute(select_runs().where(ended).order_by(runs.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else to_run(row)


def _ending(run: Run) -> tuple[RunState, str] | None:
    if run.state.final:
        return None
    if run.cancel_requested:
        return RunState.CANCELLED, run.reason or "cancelled"
    if run.attempts >= MAX_ATTEMPTS:
        return RunState.FAILED, f"given up after {run.attempts} attempts: {run.reason or _DIED}"
    return None
