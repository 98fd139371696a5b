"""Candles: the open tail in the database, sealed runs in files, read as one.

Below the watermark the files are the truth. A bar, once sealed, is never changed: another value for it is a further
revision in a file of its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select, update

from tidewheel.contracts.errors import BadCandles, BadInput, Conflict, FenceLost
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import GapState
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.features.frames import CandleFrame, Ints
from tidewheel.ledger.archive import Archive, Stored
from tidewheel.ledger.bulk import whereabouts
from tidewheel.ledger.engine import Database
from tidewheel.ledger.files import insert_file, insert_gaps, narrow_gap, note_gap, sealed_file, select_files
from tidewheel.ledger.leases import guard
from tidewheel.ledger.recorded import Recorded, between_intervals, changes
from tidewheel.ledger.records import Appended, Gap, Lease, SealedFile
from tidewheel.ledger.streams import stream_row
from tidewheel.ledger.tables import candles, files, gaps, streams
from tidewheel.ledger.tail import insert_tail, read_tail, waiting


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Late:
    """Bars that came after the watermark had passed them."""

    files: list[tuple[Recorded, Stored]]  #: first revisions where no file has been, further ones elsewhere
    bars: int  #: in those files
    revised: int  #: how many of them correct a known bar
    older: Ints  #: open times before the stream's first file, and that file's start: between them gaps may lie
    gaps: list[tuple[Gap, Ints]]  #: gaps that they reach into, each with all open times known inside


class Bars:
    """All bars of this ledger: one write path, one read path."""

    def __init__(self, db: Database, archive: Archive) -> None:
        self._db, self._archive = db, archive

    def append(self, lease: Lease, key: StreamKey, frame: CandleFrame, source: str) -> Appended:
        """Store closed bars: new ones in the tail, or in files of their own where they lie below the watermark.

        Bars that are known with the same values are left out. All or nothing.

        Args:
            lease: the stream's writer, `stream:<key>`.
            source: who fetched them, such as the exchange's id.

        Raises:
            BadCandles: a bar cannot be, or the frame is of another timeframe.
            NotFound: the stream was never registered.
            FenceLost: the lease has ended.
        """
        if frame.step != key.step:
            raise BadCandles(f"bars of {frame.step} ms cannot go into stream {key}, whose bars last {key.step} ms")
        frame.checked()
        if not len(frame):
            return Appended(stored=0, duplicates=0, revised=0)
        with self._db.read() as connection:
            row, now = stream_row(connection, key), self._db.now(connection)
        cut = int(frame.open_time[0]) if row.watermark is None else row.watermark
        late = self._late(key, frame.between(None, cut), now)
        fresh = frame.between(cut, None)
        low, high = int(frame.open_time[0]), int(frame.open_time[-1]) + key.step
        with self._db.write() as connection:
            self._guard(connection, lease, key, row.watermark)
            # Told again: writing the files took a while, in which readers were answered without these bars.
            now = self._db.now(connection)
            tail, _ = read_tail(connection, key.step, row.id, max(low, cut), high)
            new, revised = changes(fresh, tail.newest())
            insert_tail(connection, row.id, Recorded.at(new, now), source)
            for bars, paths in late.files:
                insert_file(connection, row.id, bars.recorded(now), paths, source, now)
            insert_gaps(connection, row.id, key, late.older, now)
            for gap, inside in late.gaps:
                narrow_gap(connection, row.id, gap, inside, now)
        written, revised = len(new) + late.bars, revised + late.revised
        return Appended(stored=written - revised, duplicates=len(frame) - written, revised=revised)

    def seal(self, lease: Lease, key: StreamKey, upto: UtcMillis | None = None) -> SealedFile | None:
        """Turn the tail (before `upto`) into files and move the watermark behind its last bar, in one transaction.

        Missing bars become open gaps and stop nothing. Revisions that came while the bars waited become files of
        their own.

        Returns:
            The file of first revisions; None when no bar waits.

        Raises:
            NotFound: the stream was never registered.
            FenceLost: the lease has ended; what was written lies unnamed until the next seal overwrites it.
            Conflict: the tail changed meanwhile (`tail_moved`); seal again.
            Unavailable: the disk refused.
        """
        with self._db.read() as connection:
            row, now = stream_row(connection, key), self._db.now(connection)
            tail, source = read_tail(connection, key.step, row.id, row.watermark, upto)
        if not len(tail.frame):
            return None
        parts = [tail.take(tail.frame.revision == revision) for revision in np.unique(tail.frame.revision)]
        stored = [self._archive.store(key, part.frame) for part in parts]
        times = parts[0].frame.open_time
        watermark = int(times[-1]) + key.step
        with self._db.write() as connection:
            self._guard(connection, lease, key, row.watermark)
            here = select(func.count()).select_from(candles).where(waiting(row.id, row.watermark, watermark))
            if connection.execute(here).scalar_one() != len(tail.frame):
                raise Conflict(f"bars of {key} were stored while it was being sealed; seal again", code="tail_moved")
            connection.execute(update(streams).where(streams.c.id == row.id).values(watermark=watermark))
            ids = [
                insert_file(connection, row.id, part, paths, source, now)
                for part, paths in zip(parts, stored, strict=True)
            ]
            before = [] if row.watermark is None else [row.watermark - key.step]
            insert_gaps(connection, row.id, key, np.array([*before, *times.tolist()], dtype=np.int64), now)
            return sealed_file(connection.execute(select_files().where(files.c.id == ids[0])).one())

    def read(
        self,
        key: StreamKey,
        start: UtcMillis | None = None,
        end: UtcMillis | None = None,
        as_of: UtcMillis | None = None,
    ) -> CandleFrame:
        """The bars with `start <= open_time < end`, sealed or not, each in its newest revision.

        Args:
            as_of: only what this ledger had been told by then (ledger's clock); the same answer for ever.

        Raises:
            BadInput: `as_of` lies in the ledger's future, of which nobody can say yet what will be known.
            NotFound: the stream was never registered, or a file of it is missing.
            BadCandles: a file of it is damaged.
        """
        with self._db.read() as connection:
            # Watermark first: bars sealed meanwhile then come twice, from the tail and from a file, and never not.
            row = stream_row(connection, key)
            if as_of is not None and as_of > (now := self._db.now(connection)):
                raise BadInput(f"as_of {iso(as_of)} has not come yet: by the ledger's clock it is {iso(now)}")
            query = select(files).where(files.c.stream_id == row.id).order_by(files.c.start_time)
            if start is not None:
                query = query.where(files.c.end_time > start)
            if end is not None:
                query = query.where(files.c.start_time < end)
            sealed = connection.execute(query).all()
            low = start if row.watermark is None or (start is not None and start > row.watermark) else row.watermark
            tail, _ = read_tail(connection, key.step, row.id, low, end)
        parts = [
            Recorded.of_file(self._archive.load(file.blob_path, file.digest), file.revision, file.recorded)
            for file in sealed
        ]
        return Recorded.concat([*parts, tail], key.step).newest(as_of).between(start, end)

    def read_many(
        self,
        keys: Iterable[StreamKey],
        start: UtcMillis | None = None,
        end: UtcMillis | None = None,
        *,
        cached: bool = False,
    ) -> Iterator[tuple[StreamKey, CandleFrame]]:
        """What `read` tells of each stream, once and in the order of `keys`, with three queries for a thousand streams.

        What lies where is asked when this is called, for all of one moment; files are opened as the caller goes on, so
        that no more than one stream is in memory.

        Args:
            cached: answer from memory what was read so before, and keep what is read. For what is asked for again and
                again, such as the newest year: within the archive's limit, whole histories would push each other out.

        Raises:
            NotFound, BadCandles: as `read`; of files when their stream's turn comes.
        """
        load = partial(self._archive.recall, start=start) if cached else self._archive.load
        with self._db.read(snapshot=True) as connection:
            places = whereabouts(connection, list(dict.fromkeys(keys)), start, end)
        return ((place.key, place.bars(load).newest().between(start, end)) for place in places)

    def last(self, key: StreamKey, n: int) -> CandleFrame:
        """The newest `n` bars, fewer when there are fewer.

        Raises:
            NotFound, BadCandles: as `read`.
        """
        with self._db.read() as connection:
            row = stream_row(connection, key)
            tail = select(func.min(candles.c.open_time), func.max(candles.c.open_time))
            oldest, newest = connection.execute(tail.where(waiting(row.id, row.watermark))).one()
            sealed = select(func.min(files.c.start_time)).where(files.c.stream_id == row.id)
            oldest = min(
                (time for time in (oldest, connection.execute(sealed).scalar_one()) if time is not None), default=None
            )
        if oldest is None or n < 1:
            return CandleFrame.empty(key.step)
        end = row.watermark if newest is None else newest + key.step
        span = n
        while True:
            frame = self.read(key, end - span * key.step)
            if len(frame) >= n or end - span * key.step <= oldest:
                return frame.take(slice(-n, None))
            span *= 4  # gaps made it too short

    def gaps(self, key: StreamKey) -> list[Gap]:
        """The stream's holes below the watermark, oldest first, also those that have been filled."""
        with self._db.read() as connection:
            row = stream_row(connection, key)
            query = select(gaps).where(gaps.c.stream_id == row.id).order_by(gaps.c.start_time)
            found = connection.execute(query).all()
        return [
            Gap(
                key=key,
                start=gap.start_time,
                end=gap.end_time,
                state=GapState(gap.state),
                found_at=gap.found_at,
                evidence=gap.evidence,
                changed_at=gap.changed_at,
            )
            for gap in found
        ]

    def note_gap(self, lease: Lease, gap: Gap, state: GapState, evidence: Mapping[str, Any]) -> None:
        """Write down what the exchange answered about a gap; the evidence is added to what is known.

        Raises:
            FenceLost: the lease has ended.
        """
        with self._db.write() as connection:
            row, now = stream_row(connection, gap.key), self._db.now(connection)
            self._guard(connection, lease, gap.key, row.watermark)
            note_gap(connection, row.id, gap, state, evidence, now)

    def files(self, key: StreamKey | None = None) -> list[SealedFile]:
        """The sealed files, of one stream or of all, in the order of sealing."""
        query = select_files().order_by(files.c.id)
        if key is not None:
            query = query.where(streams.c.key == str(key))
        with self._db.read() as connection:
            return [sealed_file(row) for row in connection.execute(query).all()]

    def as_sealed(self, file: SealedFile) -> CandleFrame:
        """The bars of one file as they were sealed, whatever was corrected since; their revision is told as 0.

        Raises:
            NotFound: its blob is missing.
            BadCandles: its blob is damaged.
        """
        return self._archive.load(file.blob_path, file.digest)

    def drop_csv(self, key: StreamKey, older_than_days: float) -> int:
        """Remove CSV files that were sealed so long ago, and say how many. Readers and trainers use the blobs."""
        return self._archive.drop_csv(key, older_than_days * 86_400)

    def _guard(self, connection: Connection, lease: Lease, key: StreamKey, watermark: UtcMillis | None) -> None:
        """Only the stream's present writer goes on, and only from the watermark that it has read."""
        if lease.name != f"stream:{key}":
            raise FenceLost(f"lease {lease.name} gives no right to write {key}; hold stream:{key}")
        guard(self._db, connection, lease)
        if stream_row(connection, key).watermark != watermark:
            raise Conflict(f"the watermark of {key} moved meanwhile; try again", code="watermark_moved")

    def _late(self, key: StreamKey, frame: CandleFrame, now: UtcMillis) -> _Late:
        """What `frame`, all below the watermark, tells beyond the sealed bars; its files are on disk."""
        if not len(frame):
            return _Late(files=[], bars=0, revised=0, older=np.zeros(0, dtype=np.int64), gaps=[])
        new, revised = changes(frame, self.read(key, int(frame.open_time[0]), int(frame.open_time[-1]) + key.step))
        first = sorted((file.start, file.end) for file in self.files(key) if file.revision == 0)
        starts, ends = np.array(first, dtype=np.int64).T
        parts = [Recorded.at(part, now) for part in between_intervals(new, starts, ends)]
        older = new.open_time[new.open_time < starts[0]]
        return _Late(
            files=[(part, self._archive.store(key, part.frame)) for part in parts],
            bars=len(new),
            revised=revised,
            older=np.append(older, starts[0]),
            gaps=[
                (gap, np.union1d(self.read(key, gap.start, gap.end).open_time, filling))
                for gap in self.gaps(key)
                if gap.state is not GapState.HEALED and len(filling := new.between(gap.start, gap.end).open_time)
            ],
        )
