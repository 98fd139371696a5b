"""The open tail: bars that wait for a seal, as rows of `candles`. Below the watermark the rows are only a cache."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, and_, cast, func, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.recorded import COLUMNS, Recorded
from tidewheel.ledger.tables import candles, streams

_PIECE = 1_000  #: rows that become columns at once, with every other thread of the process at a halt


def waiting(stream_id: int, low: UtcMillis | None, high: UtcMillis | None = None) -> ColumnElement[bool]:
    """The rows of a stream with `low <= open_time < high`; None leaves a side open."""
    conditions: list[ColumnElement[bool]] = [candles.c.stream_id == stream_id]
    if low is not None:
        conditions.append(candles.c.open_time >= low)
    if high is not None:
        conditions.append(candles.c.open_time < high)
    return and_(*conditions)


def read_tail(
    connection: Connection, step: int, stream_id: int, low: UtcMillis | None, high: UtcMillis | None
) -> tuple[Recorded, str]:
    """The bars there, every revision, and who fetched them."""
    query = select(candles).where(waiting(stream_id, low, high)).order_by(candles.c.revision, candles.c.open_time)
    parts, sources = [Recorded.concat([], step)], set[str]()
    for rows in connection.execute(query).partitions(_PIECE):
        table = dict(zip(candles.c.keys(), zip(*rows, strict=True), strict=True))
        parts.append(_recorded(table, step))
        sources.update(table["source"])
    return Recorded.concat(parts, step), ",".join(sorted(sources))


def read_tails(
    connection: Connection, steps: Mapping[int, int], low: UtcMillis | None, high: UtcMillis | None
) -> dict[int, Recorded]:
    """Of each stream id in `steps` the waiting bars with `low <= open_time < high`, every revision in any order.

    Where a tail begins is read with it, and must be what the streams' files were read with: in one snapshot.
    """
    waits = candles.c.open_time >= func.coalesce(streams.c.watermark, -(2**62))
    query = select(candles).join(streams, and_(streams.c.id == candles.c.stream_id, waits))
    query = query.where(streams.c.id.in_(list(steps)))
    if low is not None:
        query = query.where(candles.c.open_time >= low)
    if high is not None:
        query = query.where(candles.c.open_time < high)
    parts, owners = [Recorded.concat([], 0)], [np.zeros(0, dtype=np.int64)]
    for rows in connection.execute(query).partitions(_PIECE):
        table = dict(zip(candles.c.keys(), zip(*rows, strict=True), strict=True))
        parts.append(_recorded(table, 0))
        owners.append(np.array(table["stream_id"], dtype=np.int64))
    owner, every = np.concatenate(owners), Recorded.concat(parts, 0)
    order = np.argsort(owner, kind="stable")
    every, found = every.take(order), np.unique(owner)
    edges = [*np.searchsorted(owner[order], found).tolist(), len(owner)]
    tails = dict.fromkeys(steps, every.take(slice(0, 0)))
    tails |= {each: every.take(slice(*edge)) for each, edge in zip(found.tolist(), pairwise(edges), strict=True)}
    return {each: replace(tail, frame=replace(tail.frame, step=steps[each])) for each, tail in tails.items()}


def _recorded(table: Mapping[str, Sequence[Any]], step: int) -> Recorded:
    def column(name: str, dtype: Any) -> Any:
        return np.array(table[name], dtype=dtype)

    frame = CandleFrame(
        step=step,
        open_time=column("open_time", np.int64),
        available_at=column("available_at", np.int64),
        revision=column("revision", np.int16),
        **{name: column(name, np.float64) for name in COLUMNS},
    )
    return Recorded(frame, column("recorded_at", np.int64))


def insert_tail(connection: Connection, stream_id: int, bars: Recorded, source: str) -> None:
    """Store the bars."""
    if not len(bars.frame):
        return
    names = ("open_time", "revision", *COLUMNS, "available_at")
    columns = {name: getattr(bars.frame, name).tolist() for name in names} | {"recorded_at": bars.recorded_at.tolist()}
    same = {"stream_id": stream_id, "source": source}
    if connection.dialect.name == "postgresql":  # one statement with arrays: row by row takes six times as long
        arrays = [func.unnest(cast(values, ARRAY(candles.c[name].type))) for name, values in columns.items()]
        rows = select(*(literal(value) for value in same.values()), *arrays)
        connection.execute(insert(candles).from_select([*same, *columns], rows))
    else:
        table = zip(*columns.values(), strict=True)
        connection.execute(insert(candles), [same | dict(zip(columns, row, strict=True)) for row in table])
