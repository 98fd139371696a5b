"""Claims: which files a consumer's run holds, and which it has consumed.

One row for each (consumer, file), so a file is consumed at most once by each consumer. The functions work inside
the transaction of a run, which has presented its fence there.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import Conflict
from tidewheel.contracts.states import ClaimState
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.engine import Database
from tidewheel.ledger.files import sealed_file, select_files
from tidewheel.ledger.records import Consumption, SealedFile
from tidewheel.ledger.suspects import SUSPECT, Tried, choose
from tidewheel.ledger.tables import claims, files, streams

MAX_ATTEMPTS = 5  #: a file whose runs fail or die this often, the last time on it alone, becomes `poison`
LAST_ATTEMPT = 16  #: makes it poison in any company: too few bars to be trained alone


class Claims:
    """What each consumer has done with each file."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def states(self, consumer: str) -> dict[ClaimState, int]:
        """How many files stand where for `consumer`; a file it never touched counts as downloaded."""
        state = func.coalesce(claims.c.state, ClaimState.DOWNLOADED)
        mine = and_(claims.c.file_id == files.c.id, claims.c.consumer == consumer)
        with self._db.read() as connection:
            rows = connection.execute(
                select(state.label("state"), func.count().label("files"))
                .select_from(files.outerjoin(claims, mine))
                .where(files.c.quarantined.is_(None) | claims.c.state.is_not(None))
                .group_by(state)
            ).all()
        found = {ClaimState(row.state): int(row.files) for row in rows}
        return {each: found.get(each, 0) for each in ClaimState}

    def consumption(self, consumer: str) -> list[Consumption]:
        """The consumer's record, a row for each file that it ever held, in the order of sealing."""
        with self._db.read() as connection:
            rows = connection.execute(
                select(claims).where(claims.c.consumer == consumer).order_by(claims.c.file_id)
            ).all()
        return [
            Consumption(
                file_id=row.file_id,
                state=ClaimState(row.state),
                run_id=row.run_id,
                attempts=row.attempts,
                requeued_by=row.requeued_by,
            )
            for row in rows
        ]

    def requeue(self, consumer: str, file_ids: Sequence[int], actor: str) -> list[int]:
        """Free files that are poison, or have failed attempts on record, as if never tried; the ids that changed.

        Raises:
            Conflict: `not_to_requeue`: a run holds or has consumed one of them; nothing was changed.
        """
        mine = (claims.c.consumer == consumer) & claims.c.file_id.in_(file_ids)
        taken = (ClaimState.PROCESSING, ClaimState.PROCESSED)
        with self._db.write() as connection:
            rows = connection.execute(select(claims).where(mine).order_by(claims.c.file_id).with_for_update()).all()
            for row in rows:
                if row.state in taken:
                    raise Conflict(
                        f"file {row.file_id} is {row.state} by run {row.run_id} of {consumer}; only poison and "
                        "free files are put back",
                        code="not_to_requeue",
                    )
            changed = [row.file_id for row in rows if row.state == ClaimState.POISON or row.attempts]
            connection.execute(
                update(claims)
                .where(claims.c.consumer == consumer, claims.c.file_id.in_(changed))
                .values(
                    state=ClaimState.DOWNLOADED, attempts=0, run_id=None, requeued_by=actor, changed_at=self._db.clock()
                )
            )  # fmt: skip
        return changed


def claim(
    db: Database,
    connection: Connection,
    consumer: str,
    run_id: int,
    *,
    limit: int | None,
    timeframe: str | None,
    strict: bool,
) -> list[SealedFile]:
    """Take up to `limit` free files, oldest data first, and return all that the run now holds, by stream and time.

    Files that have failed together are taken in smaller groups: suspects.py.
    """
    wanted = _wanted(timeframe, strict)
    _list_new_files(db, connection, consumer, wanted)
    free = (
        select(claims.c.file_id, claims.c.attempts, claims.c.changed_at)
        .join(files, files.c.id == claims.c.file_id)
        .join(streams, streams.c.id == files.c.stream_id)
        .where(claims.c.consumer == consumer, claims.c.state == ClaimState.DOWNLOADED, wanted)
        .order_by(files.c.start_time, files.c.id)
        # On SQLite the write lock is held already.
        .with_for_update(of=claims, skip_locked=True)
    )
    take = (
        update(claims)
        .where(claims.c.consumer == consumer)
        .values(state=ClaimState.PROCESSING, run_id=run_id, attempts=claims.c.attempts + 1, changed_at=db.clock())
    )
    if connection.execute(free.where(claims.c.attempts >= SUSPECT).limit(1)).first() is None:
        chosen = free.with_only_columns(claims.c.file_id).limit(limit).cte("chosen")
        connection.execute(take.where(claims.c.file_id.in_(select(chosen.c.file_id))))
    else:
        tried = [Tried(*row) for row in connection.execute(free).all()]
        some = choose(tried, _held_attempts(connection, run_id), _newest_poison(connection, consumer))[:limit]
        for one in some:
            connection.execute(take.where(claims.c.file_id == one.file_id))
    held = select_files().join(claims, claims.c.file_id == files.c.id).where(_held_by(run_id))
    rows = connection.execute(held.order_by(streams.c.key, files.c.start_time, files.c.id)).all()
    return [sealed_file(row) for row in rows]


def consume(db: Database, connection: Connection, run_id: int) -> None:
    """Record that the run's files are consumed, for good."""
    connection.execute(update(claims).where(_held_by(run_id)).values(state=ClaimState.PROCESSED, changed_at=db.clock()))


def on_trial(connection: Connection, run_id: int) -> bool:
    """Whether the run holds files that have failed together."""
    return any(attempts > SUSPECT for attempts in _held_attempts(connection, run_id))


def acquit(connection: Connection, run_id: int) -> None:
    """Strike the failed attempts of the run's files from their record: a fit on them ended well."""
    connection.execute(update(claims).where(_held_by(run_id)).values(attempts=1))  # the present one, not yet over


def park(db: Database, connection: Connection, run_id: int, file_id: int) -> None:
    """Make one of the run's files poison; it goes on naming the run, for `requeue` by run."""
    connection.execute(
        update(claims)
        .where(_held_by(run_id), claims.c.file_id == file_id)
        .values(state=ClaimState.POISON, changed_at=db.clock())
    )


def give_back(db: Database, connection: Connection, run_id: int, *, counted: bool) -> None:
    """Free the run's files. A counted attempt stays on their record, and too many make poison.

    The fifth does so for a file that the run held alone; a larger group is tried in halves first (suspects.py).
    """
    free, poison = literal(str(ClaimState.DOWNLOADED)), literal(str(ClaimState.POISON))
    enough = MAX_ATTEMPTS if len(_held_attempts(connection, run_id)) == 1 else LAST_ATTEMPT
    state = case((claims.c.attempts >= enough, poison), else_=free) if counted else free
    attempts = claims.c.attempts - (0 if counted else 1)
    # A poison claim goes on naming the run that left it, for `requeue` by run.
    holder = case((state == poison, claims.c.run_id), else_=None)
    connection.execute(
        update(claims)
        .where(_held_by(run_id))
        .values(state=state, attempts=attempts, run_id=holder, changed_at=db.clock())
    )


def _held_attempts(connection: Connection, run_id: int) -> list[int]:
    return list(connection.execute(select(claims.c.attempts).where(_held_by(run_id))).scalars())


def _newest_poison(connection: Connection, consumer: str) -> UtcMillis:
    poison = (claims.c.consumer == consumer) & (claims.c.state == ClaimState.POISON)
    return int(connection.execute(select(func.coalesce(func.max(claims.c.changed_at), 0)).where(poison)).scalar_one())


def _list_new_files(db: Database, connection: Connection, consumer: str, wanted: ColumnElement[bool]) -> None:
    insert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    listed = exists().where(claims.c.consumer == consumer, claims.c.file_id == files.c.id)
    new = (
        select(literal(consumer), files.c.id, literal(str(ClaimState.DOWNLOADED)), literal(0), db.clock())
        .join(streams, streams.c.id == files.c.stream_id)
        .where(wanted, ~listed)
    )
    columns = ["consumer", "file_id", "state", "attempts", "changed_at"]
    connection.execute(insert(claims).from_select(columns, new).on_conflict_do_nothing())


def _wanted(timeframe: str | None, strict: bool) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [files.c.quarantined.is_(None)]
    if strict:
        conditions.append(files.c.revision == 0)
    if timeframe is not None:
        conditions.append(streams.c.key.endswith(f":{timeframe}", autoescape=True))
    return and_(*conditions)


def _held_by(run_id: int) -> ColumnElement[bool]:
    return and_(claims.c.run_id == run_id, claims.c.state == ClaimState.PROCESSING)
