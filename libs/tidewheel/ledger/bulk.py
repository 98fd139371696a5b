"""Where the bars of many streams lie, in a number of queries that does not grow with each of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.recorded import Recorded
from tidewheel.ledger.streams import stream_ids
from tidewheel.ledger.tables import files
from tidewheel.ledger.tail import read_tails

_AT_ONCE = 1_000  #: streams that one statement names; SQLite takes 32,766 values, Postgres 65,535


@dataclass(frozen=True, eq=False, slots=True)
class Whereabouts:
    """The files and the tail of one stream."""

    key: StreamKey
    sealed: list[Row[Any]]  #: blob_path, digest, revision and recorded of each file, in any order
    tail: Recorded

    def bars(self, load: Callable[[str, str], CandleFrame]) -> Recorded:
        """All that was recorded, by a `load` that gives the bars of a blob's path and digest, or the newest of them."""
        parts = [
            Recorded.of_file(load(file.blob_path, file.digest), file.revision, file.recorded) for file in self.sealed
        ]
        return Recorded.concat([*parts, self.tail], self.key.step)


def whereabouts(
    connection: Connection, keys: Sequence[StreamKey], start: UtcMillis | None, end: UtcMillis | None
) -> list[Whereabouts]:
    """Of each key, in their order, what may hold bars with `start <= open_time < end`; needs a snapshot.

    Raises:
        NotFound: a stream was never registered.
    """
    pieces = (keys[at : at + _AT_ONCE] for at in range(0, len(keys), _AT_ONCE))
    return [place for piece in pieces for place in _piece(connection, piece, start, end)]


def _piece(
    connection: Connection, keys: Sequence[StreamKey], start: UtcMillis | None, end: UtcMillis | None
) -> Iterator[Whereabouts]:
    ids = stream_ids(connection, keys)
    query: Select[Any] = select(
        files.c.stream_id, files.c.blob_path, files.c.digest, files.c.revision, files.c.recorded
    )
    query = query.where(files.c.stream_id.in_(list(ids.values())))
    if start is not None:
        query = query.where(files.c.end_time > start)
    if end is not None:
        query = query.where(files.c.start_time < end)
    sealed: dict[int, list[Row[Any]]] = {each: [] for each in ids.values()}
    for row in connection.execute(query).all():
        sealed[row.stream_id].append(row)
    tails = read_tails(connection, {ids[key]: key.step for key in keys}, start, end)
    for key in keys:
        yield Whereabouts(key, sealed[ids[key]], tails[ids[key]])
