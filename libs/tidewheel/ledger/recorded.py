"""Candles as the ledger remembers them: every revision, and when it was learnt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import Row

from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame, Ints

COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, eq=False, slots=True)
class Recorded:
    """Candles of one stream with the time at which the ledger learnt each; shape [n]."""

    frame: CandleFrame  #: unlike other frames, one that may hold several revisions of a bar, in any order
    recorded_at: Ints  #: UTC ms by the ledger's clock

    @classmethod
    def of_rows(cls, step: int, rows: Sequence[Row[Any]]) -> "Recorded":
        """From rows of the table `candles`."""

        def column(name: str, dtype: type[np.generic]) -> Any:
            return np.array([getattr(row, name) for row in rows], dtype=dtype)

        frame = CandleFrame(
            step=step,
            open_time=column("open_time", np.int64),
            available_at=column("available_at", np.int64),
            revision=column("revision", np.int16),
            **{name: column(name, np.float64) for name in COLUMNS},
        )
        return cls(frame, column("recorded_at", np.int64))

    @classmethod
    def of_file(cls, frame: CandleFrame, revision: int, runs: Iterable[tuple[int, int]]) -> "Recorded":
        """From a blob and its row: `runs` are (count, time) pairs, in the order of the bars."""
        counts, times = zip(*runs, strict=True)
        columns = {field.name: getattr(frame, field.name) for field in fields(frame) if field.name != "revision"}
        revised = CandleFrame(revision=np.full(len(frame), revision, dtype=np.int16), **columns)
        return cls(revised, np.repeat(np.array(times, dtype=np.int64), np.array(counts, dtype=np.int64)))

    def runs(self) -> list[tuple[int, int]]:
        """(count, time) pairs: bars arrive in batches, so a file has few."""
        return [(len(list(run)), time) for time, run in groupby(self.recorded_at.tolist())]

    def take(self, index: Any) -> "Recorded":
        """The bars that `index` selects."""
        return Recorded(self.frame.take(index), self.recorded_at[index])

    def between(self, start: UtcMillis | None, end: UtcMillis | None) -> "Recorded":
        """The bars with `start <= open_time < end`; None leaves a side open."""
        times = self.frame.open_time
        keep = np.ones(len(times), dtype=bool)
        if start is not None:
            keep &= times >= start
        if end is not None:
            keep &= times < end
        return self.take(keep)

    def newest(self, as_of: UtcMillis | None = None) -> CandleFrame:
        """Each bar once, in the newest revision that had been learnt by `as_of`."""
        known = self if as_of is None else self.take(self.recorded_at <= as_of)
        frame = known.frame
        times = frame.open_time
        if not (np.diff(times) > 0).all():
            frame = frame.take(np.lexsort((frame.revision, times)))
            times = frame.open_time
            frame = frame.take(np.append(times[1:] != times[:-1], True) if len(times) else slice(0, 0))
        return frame

    @staticmethod
    def concat(parts: Sequence["Recorded"], step: int) -> "Recorded":
        """All bars of `parts`, one after the other."""
        if not parts:
            return Recorded(CandleFrame.empty(step), np.zeros(0, dtype=np.int64))
        names = [field.name for field in fields(CandleFrame) if field.name != "step"]
        columns = {name: np.concatenate([getattr(part.frame, name) for part in parts]) for name in names}
        return Recorded(CandleFrame(step=step, **columns), np.concatenate([part.recorded_at for part in parts]))


def changes(frame: CandleFrame, known: CandleFrame) -> tuple[CandleFrame, int]:
    """What `frame` tells beyond `known` (each bar once, sorted).

    Returns:
        The bars of `frame` that are new or differ, their revision one above the known bar's (0 where none is known),
        and how many of them differ.
    """
    if not len(known) or not len(frame):
        return frame.take(slice(None)) if not frame.revision.any() else _with_revision(frame, 0), 0
    at = np.minimum(np.searchsorted(known.open_time, frame.open_time), len(known) - 1)
    present = known.open_time[at] == frame.open_time
    equal = present & (known.matrix()[at] == frame.matrix()).all(axis=1)
    revision = np.where(present, known.revision[at] + 1, 0).astype(np.int16)
    return _with_revision(frame, revision).take(~equal), int((present & ~equal).sum())


def _with_revision(frame: CandleFrame, revision: Any) -> CandleFrame:
    columns = {field.name: getattr(frame, field.name) for field in fields(frame) if field.name != "revision"}
    return CandleFrame(revision=np.broadcast_to(np.int16(revision), len(frame)).astype(np.int16), **columns)
