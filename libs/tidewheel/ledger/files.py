"""Rows of sealed files and of the holes between their bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, insert, select, update

from tidewheel.contracts.errors import Conflict
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import GapState
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.features.frames import Ints
from tidewheel.ledger.archive import Stored
from tidewheel.ledger.recorded import Recorded
from tidewheel.ledger.records import Gap, SealedFile
from tidewheel.ledger.tables import files, gaps, streams


def select_files() -> Select[Any]:
    """All columns of a file and its stream's key; narrow it with where()."""
    return select(files, streams.c.key).join(streams, streams.c.id == files.c.stream_id)


def sealed_file(row: Row[Any]) -> SealedFile:
    """The record of a row of `select_files()`."""
    return SealedFile(
        id=row.id,
        key=StreamKey.parse(row.key),
        start=row.start_time,
        end=row.end_time,
        bars=row.bars,
        revision=row.revision,
        digest=row.digest,
        csv_path=row.csv_path,
        blob_path=row.blob_path,
        source=row.source,
        sealed_at=row.sealed_at,
        quarantined=row.quarantined,
    )


def insert_file(
    connection: Connection, stream_id: int, bars: Recorded, stored: Stored, source: str, now: UtcMillis
) -> int:
    """Name a file that is on disk; its id.

    Raises:
        Conflict: it overlaps a first revision and is one itself (`files_overlap`).
    """
    frame = bars.frame
    start, end = int(frame.open_time[0]), int(frame.open_time[-1]) + frame.step
    revision = int(frame.revision[0])
    overlapping = exists().where(
        files.c.stream_id == stream_id, files.c.revision == 0, files.c.start_time < end, files.c.end_time > start
    )
    if revision == 0 and connection.execute(select(overlapping)).scalar_one():
        raise Conflict(
            f"a file already covers bars from {iso(start)} to {iso(end)}; only a further revision may",
            code="files_overlap",
        )
    return int(
        connection.execute(
            insert(files)
            .values(
                stream_id=stream_id,
                start_time=start,
                end_time=end,
                bars=len(frame),
                revision=revision,
                digest=stored.digest,
                csv_path=stored.csv_path,
                blob_path=stored.blob_path,
                source=source,
                recorded=bars.runs(),
                sealed_at=now,
            )
            .returning(files.c.id)
        ).scalar_one()
    )


def insert_gaps(connection: Connection, stream_id: int, key: StreamKey, times: Ints, now: UtcMillis) -> None:
    """Note the holes between these open times (sorted)."""
    holes = np.flatnonzero(np.diff(times) > key.longest_step)
    if len(holes):
        evidence = {"seen": "passed by a seal"}
        connection.execute(
            insert(gaps),
            [
                {
                    "stream_id": stream_id,
                    "start_time": int(times[hole]) + key.step,
                    "end_time": int(times[hole + 1]),
                    "state": GapState.OPEN,
                    "evidence": evidence,
                    "found_at": now,
                    "changed_at": now,
                }
                for hole in holes
            ],
        )


def narrow_gap(connection: Connection, stream_id: int, gap: Gap, times: Ints, now: UtcMillis) -> None:
    """Note which bars have come inside a gap (open times, sorted): what they leave is open again, or all is healed.

    Raises:
        Conflict: it is not as it was read (`gap_moved`).
    """
    step = gap.key.step
    edges = np.array([gap.start - step, *times.tolist(), gap.end], dtype=np.int64)
    before = np.flatnonzero(np.diff(edges) > gap.key.longest_step)
    values: dict[str, Any] = {"state": GapState.HEALED}
    if len(before):
        # What was asked about the whole says nothing about its parts.
        values = {"state": GapState.OPEN, "evidence": {"seen": "left by bars that came late"}}
        values |= {"start_time": int(edges[before[0]]) + step, "end_time": int(edges[before[0] + 1])}
    row = update(gaps).where(_unhealed(stream_id, gap), gaps.c.end_time == gap.end)
    if not connection.execute(row.values(changed_at=now, **values)).rowcount:
        raise Conflict(
            f"bars came into the gap at {iso(gap.start)} of {gap.key} meanwhile; try again", code="gap_moved"
        )
    if len(before):
        insert_gaps(connection, stream_id, gap.key, edges[before[0] + 1 :], now)


def note_gap(
    connection: Connection, stream_id: int, gap: Gap, state: GapState, evidence: Mapping[str, Any], now: UtcMillis
) -> None:
    """Write down what was found out about a gap; one that has been filled meanwhile stays so."""
    values = {"state": state, "evidence": dict(gap.evidence) | dict(evidence), "changed_at": now}
    connection.execute(update(gaps).where(_unhealed(stream_id, gap)).values(**values))


def _unhealed(stream_id: int, gap: Gap) -> ColumnElement[bool]:
    return and_(gaps.c.stream_id == stream_id, gaps.c.start_time == gap.start, gaps.c.state != GapState.HEALED)
