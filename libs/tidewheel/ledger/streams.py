"""Streams: which series of candles there are, where each comes from and how far it is sealed."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import Conflict, NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import GapState, Origin
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Stream
from tidewheel.ledger.tables import candles, files, gaps, streams


class Streams:
    """The streams of this ledger."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def register(self, key: StreamKey, origin: Origin) -> Stream:
        """Make the stream known; the first call sets its origin for good.

        Raises:
            Conflict: it is already known with another origin (`origin_mismatch`).
        """
        insert = postgresql.insert if self._db.dialect == "postgresql" else sqlite.insert
        with self._db.write() as connection:
            connection.execute(
                insert(streams)
                .values(key=str(key), origin=origin, created_at=self._db.clock())
                .on_conflict_do_nothing(index_elements=[streams.c.key])
            )
            known = _stream(connection.execute(_overview().where(streams.c.key == str(key))).one())
        if known.origin != origin:
            raise Conflict(
                f"stream {key} holds {known.origin} candles, and {origin} ones are never mixed in; "
                "give them a ledger of their own (TIDEWHEEL_HOME or LEDGER_DB)",
                code="origin_mismatch",
            )
        return known

    def get(self, key: StreamKey) -> Stream | None:
        """The stream, or None when it was never registered."""
        with self._db.read() as connection:
            row = connection.execute(_overview().where(streams.c.key == str(key))).one_or_none()
        return None if row is None else _stream(row)

    def all(self) -> list[Stream]:
        """All streams, by key."""
        with self._db.read() as connection:
            return [_stream(row) for row in connection.execute(_overview().order_by(streams.c.key)).all()]

    def clock(self, stream: Stream, among: Iterable[Stream]) -> UtcMillis:
        """The latest time that the stream's exchange is known to have reached, of all that `among` tells.

        A replayed or synthetic exchange has a clock of its own, of which only its bars tell; a real one keeps ours.
        """
        known = [other.next_open or 0 for other in among if other.key.exchange == stream.key.exchange]
        if stream.origin is Origin.EXCHANGE:
            with self._db.read() as connection:
                known.append(self._db.now(connection))
        return max(known, default=stream.next_open or 0)


def stream_row(connection: Connection, key: StreamKey) -> Row[Any]:
    """The row of the table `streams`.

    Raises:
        NotFound: the stream was never registered.
    """
    row = connection.execute(select(streams).where(streams.c.key == str(key))).one_or_none()
    if row is None:
        raise _unknown(key)
    return row


def stream_ids(connection: Connection, keys: Sequence[StreamKey]) -> dict[StreamKey, int]:
    """The id of each stream, in the order of `keys`.

    Raises:
        NotFound: one was never registered.
    """
    query = select(streams.c.key, streams.c.id).where(streams.c.key.in_([str(key) for key in keys]))
    known = {row.key: row.id for row in connection.execute(query)}
    for key in keys:
        if str(key) not in known:
            raise _unknown(key)
    return {key: known[str(key)] for key in keys}


def _unknown(key: StreamKey) -> NotFound:
    return NotFound(f"stream {key} is not in this ledger; ingest it first, or ask /streams for those that are")


def known_stream(key: StreamKey, among: Sequence[Stream]) -> Stream:
    """The stream of that key.

    Raises:
        NotFound: it is not one of them; names the first ten that are.
    """
    found = next((stream for stream in among if stream.key == key), None)
    if found is None:
        known = ", ".join(str(stream.key) for stream in among[:10]) or "none yet"
        raise NotFound(f"stream {key} is not in the ledger; known are: {known}")
    return found


def refuse_synthetic(connection: Connection, version: str, origin: Origin | None) -> None:
    """Let no model of synthetic bars become the champion of a ledger that holds an exchange's.

    Raises:
        Conflict: `synthetic_origin`.
    """
    real = connection.execute(select(exists().where(streams.c.origin == Origin.EXCHANGE))).scalar_one()
    if origin is Origin.SYNTHETIC and real:
        raise Conflict(
            f"{version} was trained on synthetic candles and this ledger holds an exchange's; "
            "train on those, or use a ledger of its own for the simulator",
            code="synthetic_origin",
        )


def _overview() -> Select[Any]:
    """One row a stream, with what its candles, files and gaps add up to."""
    waiting = and_(
        candles.c.stream_id == streams.c.id, candles.c.open_time >= func.coalesce(streams.c.watermark, -(2**62))
    )
    first = and_(waiting, candles.c.revision == 0)
    sealed = and_(files.c.stream_id == streams.c.id, files.c.revision == 0)

    def scalar(value: Any, condition: Any, name: str) -> Any:
        return select(value).where(condition).scalar_subquery().label(name)

    return select(
        streams.c.key,
        streams.c.origin,
        streams.c.watermark,
        scalar(func.count(), first, "tail_bars"),
        scalar(func.min(candles.c.open_time), first, "tail_first"),
        scalar(func.max(candles.c.open_time), first, "tail_last"),
        scalar(func.min(candles.c.recorded_at), waiting, "tail_since"),
        scalar(func.min(files.c.start_time), sealed, "sealed_first"),
        scalar(func.coalesce(func.sum(files.c.bars), 0), sealed, "sealed_bars"),
        scalar(func.count(), files.c.stream_id == streams.c.id, "files"),
        *(
            scalar(func.count(), and_(gaps.c.stream_id == streams.c.id, gaps.c.state == state), f"gaps_{state}")
            for state in GapState
        ),
    )


def _stream(row: Row[Any]) -> Stream:
    key = StreamKey.parse(row.key)
    return Stream(
        key=key,
        origin=Origin(row.origin),
        watermark=row.watermark,
        first_open=row.tail_first if row.sealed_first is None else row.sealed_first,
        next_open=row.watermark if row.tail_last is None else row.tail_last + key.step,
        tail_bars=row.tail_bars,
        tail_since=row.tail_since,
        sealed_bars=int(row.sealed_bars),
        files=row.files,
        gaps_open=row.gaps_open,
        gaps_confirmed=row.gaps_confirmed_empty,
        gaps_healed=row.gaps_healed,
    )
