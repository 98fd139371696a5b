"""CandleFrame: a run of candles as columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadCandles
from tidewheel.contracts.times import LATEST, UtcMillis, iso

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class CandleFrame:
    """Candles of one stream, sorted by open time, unique, aligned to the step; all columns have shape [n].

    Missing bars are simply absent: `segments()` cuts where one is missing.
    """

    step: int  #: length of a bar, ms
    open_time: Ints  #: UTC ms
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    available_at: Ints  #: UTC ms at which the bar could first be known
    revision: NDArray[np.int16]  #: 0 as first stored, grows with each correction

    def __len__(self) -> int:
        return len(self.open_time)

    @classmethod
    def empty(cls, step: int) -> "CandleFrame":
        """A frame without bars."""
        return cls.from_rows(step, [])

    @classmethod
    def from_rows(
        cls,
        step: int,
        rows: Iterable[Sequence[float]],
        available_at: Ints | None = None,
        revision: int = 0,
    ) -> "CandleFrame":
        """From `[open_time, open, high, low, close, volume]` rows, any order; checked as `checked()` does.

        `available_at` (shape [n], in the rows' order) defaults to each bar's close time.
        """
        table = np.array([tuple(row) for row in rows], dtype=np.float64).reshape(-1, 6)
        odd = ~((table[:, 0] >= 0) & (table[:, 0] <= LATEST))  # NaN is neither
        if odd.any():
            raise BadCandles(f"the candle of {table[odd, 0][0]:g} cannot be used: that is no UTC time in milliseconds")
        order = np.argsort(table[:, 0], kind="stable")
        table = table[order]
        times = table[:, 0].astype(np.int64)
        known = times + step if available_at is None else np.asarray(available_at, dtype=np.int64)[order]
        opened, high, low, close, volume = np.ascontiguousarray(table[:, 1:].T)
        revisions = np.full(len(times), revision, dtype=np.int16)
        return cls(step, times, opened, high, low, close, volume, known, revisions).checked()

    def checked(self) -> "CandleFrame":
        """This frame, when its bars are possible ones.

        Raises:
            BadCandles: a time is unaligned, doubled or out of order; a number is not finite; a price is not
                positive; low <= open, close <= high does not hold; a volume is negative. Names the first such bar.
        """
        for bad, why in self.faults():
            if bad.any():
                first = int(np.argmax(bad))
                raise BadCandles(f"the candle of {iso(int(self.open_time[first]))} cannot be used: {why}")
        return self

    def faults(self) -> list[tuple[NDArray[np.bool_], str]]:
        """What a bar can break, each rule with the bars that break it, shape [n]."""
        times = self.open_time
        return [
            (times % self.step != 0, "its open time is not a multiple of the timeframe"),
            (
                np.concatenate(([False], np.diff(times) <= 0)) if len(times) else np.zeros(0, bool),
                "it repeats or goes back in time",
            ),
            (~np.isfinite(self.matrix()).all(axis=1), "a value is not a finite number"),
            ((self.matrix()[:, :4] <= 0).any(axis=1), "a price is not positive"),
            (self.high < np.maximum.reduce([self.open, self.close, self.low]), "its high is not the highest price"),
            (self.low > np.minimum.reduce([self.open, self.close, self.high]), "its low is not the lowest price"),
            (self.volume < 0, "its volume is negative"),
        ]

    def matrix(self) -> Floats:
        """Open, high, low, close, volume as [n, 5]."""
        return np.column_stack([self.open, self.high, self.low, self.close, self.volume])

    def rows(self) -> list[tuple[int, float, float, float, float, float]]:
        """`(open_time, open, high, low, close, volume)` of each bar."""
        columns = (self.open_time, self.open, self.high, self.low, self.close, self.volume)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def take(self, index: slice | NDArray[np.bool_] | Ints) -> "CandleFrame":
        """The bars that `index` selects, in order."""
        columns = {field.name: getattr(self, field.name)[index] for field in fields(self) if field.name != "step"}
        return CandleFrame(step=self.step, **columns)

    def between(self, start: UtcMillis | None, end: UtcMillis | None) -> "CandleFrame":
        """The bars with `start <= open_time < end`; None leaves a side open."""
        low = 0 if start is None else int(np.searchsorted(self.open_time, start))
        high = len(self) if end is None else int(np.searchsorted(self.open_time, end))
        return self.take(slice(low, high))

    def segments(self) -> list["CandleFrame"]:
        """Runs of bars in which none is missing, in order."""
        cuts = (np.flatnonzero(np.diff(self.open_time) != self.step) + 1).tolist()
        edges = [0, *cuts, len(self)]
        return [self.take(slice(low, high)) for low, high in pairwise(edges) if high > low]

    @staticmethod
    def concat(frames: Sequence["CandleFrame"], step: int) -> "CandleFrame":
        """The bars of `frames`, which must already follow one another in time."""
        if not frames:
            return CandleFrame.empty(step)
        names = [field.name for field in fields(CandleFrame) if field.name != "step"]
        columns = {name: np.concatenate([getattr(frame, name) for frame in frames]) for name in names}
        return CandleFrame(step=step, **columns).checked()
