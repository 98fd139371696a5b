"""Candles as the ledger remembers them: every revision, and when it was learnt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any

import numpy as np

from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame, Ints

COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, eq=False, slots=True)
class Recorded:
    """Candles of one stream with the time at which the ledger learnt each; shape [n]."""

    frame: CandleFrame  #: unlike other frames, one that may hold several revisions of a bar, in any order
    recorded_at: Ints  #: UTC ms by the ledger's clock

    @classmethod
    def at(cls, frame: CandleFrame, now: UtcMillis) -> "Recorded":
        """`frame` as learnt now: a correction could not be known before, so it is not available before."""
        known = np.where(frame.revision > 0, np.maximum(frame.available_at, now), frame.available_at)
        return cls(replace(frame, available_at=known), np.full(len(frame), now, dtype=np.int64))

    @classmethod
    def of_file(cls, frame: CandleFrame, revision: int, runs: Iterable[tuple[int, int]]) -> "Recorded":
        """From a blob's bars, or the newest of them, and its row: `runs` are (count, time) pairs of all, in order."""
        counts, times = zip(*runs, strict=True)
        revised = replace(frame, revision=np.full(len(frame), revision, dtype=np.int16))
        recorded = np.repeat(np.array(times, dtype=np.int64), np.array(counts, dtype=np.int64))
        return cls(revised, recorded[len(recorded) - len(frame) :])

    def recorded(self, now: UtcMillis) -> "Recorded":
        """The same bars, learnt at `now`."""
        return replace(self, recorded_at=np.full_like(self.recorded_at, now))

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
    times = frame.open_time
    at = np.searchsorted(known.open_time, times)
    present = np.isin(times, known.open_time)
    revision = np.zeros(len(frame), dtype=np.int16)
    revision[present] = known.revision[at[present]] + 1
    equal = present.copy()
    equal[present] = (known.matrix()[at[present]] == frame.matrix()[present]).all(axis=1)
    return replace(frame, revision=revision).take(~equal), int((present & ~equal).sum())


def between_intervals(frame: CandleFrame, starts: Ints, ends: Ints) -> list[CandleFrame]:
    """Cut `frame` so that each part can be a file beside those of the given intervals (sorted, disjoint).

    Bars outside of all intervals keep their revision, one part for each space between two of them. Bars inside get
    a revision of at least 1, one part for each revision.
    """
    place = np.searchsorted(starts, frame.open_time, side="right") - 1
    inside = (place >= 0) & (frame.open_time < ends[place])
    revised = replace(frame, revision=np.where(inside, np.maximum(frame.revision, 1), frame.revision))
    place = np.where(revised.revision > 0, -1, place)
    groups = sorted(set(zip(revised.revision.tolist(), place.tolist(), strict=True)))
    return [revised.take((revised.revision == revision) & (place == space)) for revision, space in groups]
