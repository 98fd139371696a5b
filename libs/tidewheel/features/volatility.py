"""How volatile a market is against its own past year: the percentile that decides which threshold a signal must reach.

Either a volatility index is given, or the universe's own realised volatility stands for it. That is kept as a sum and a
count for each session, so that a ticker is added without reading the others again; the sums are whole numbers, so that
they are the same in whatever order and parts the tickers come.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tidewheel.contracts.keys import LONGEST_PAUSE
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.features.rowsums import row_sums

YEAR = 252  #: sessions that a percentile is taken in
FEWEST = 40  #: sessions without which there is none
REALISED = 21  #: sessions that realised volatility looks back on
_UNIT = 2.0**-40  #: of squared returns; one of 0.01 % is 10,995 of them
_LARGEST = 2.0**10  #: no squared return counts more: a thousand tickers' fit into 64 bits


@dataclass(frozen=True, eq=False, slots=True)
class Squares:
    """Squared daily log returns of a universe, added up by session; none reaches across a break."""

    time: Ints  #: open times of the sessions, UTC ms, rising
    total: Ints  #: sum over the tickers that traded, in units of 2^-40
    tickers: Ints  #: how many they were

    @classmethod
    def of(cls, sessions: CandleFrame) -> "Squares":
        """Those of one ticker."""
        unbroken = np.diff(sessions.open_time) <= LONGEST_PAUSE
        squared = np.minimum(np.diff(np.log(sessions.close)) ** 2, _LARGEST)[unbroken]
        time = sessions.open_time[1:][unbroken]
        return cls(time, np.rint(squared / _UNIT).astype(np.int64), np.ones(len(time), np.int64))

    @classmethod
    def added(cls, parts: Iterable["Squares"]) -> "Squares":
        """Those of several universes that have no ticker in common."""
        every = [*parts]
        time = np.unique(np.concatenate([np.zeros(0, np.int64), *(part.time for part in every)]))
        total, tickers = np.zeros(len(time), np.int64), np.zeros(len(time), np.int64)
        for part in every:
            at = np.searchsorted(time, part.time)
            total[at] += part.total
            tickers[at] += part.tickers
        return cls(time, total, tickers)

    def between(self, start: UtcMillis | None, end: UtcMillis | None) -> "Squares":
        """Those of the sessions with `start <= time < end`; None leaves a side open."""
        low = 0 if start is None else int(np.searchsorted(self.time, start))
        high = len(self.time) if end is None else int(np.searchsorted(self.time, end))
        return Squares(self.time[low:high], self.total[low:high], self.tickers[low:high])

    def realised(self) -> tuple[Ints, Floats]:
        """Root of the mean square of 21 sessions, by session; the first 20 have none."""
        mean = self.total * _UNIT / self.tickers
        if len(mean) < REALISED:
            return self.time[:0], mean[:0]
        views = np.lib.stride_tricks.sliding_window_view(mean, REALISED)
        return self.time[REALISED - 1 :], np.sqrt(row_sums(views) / REALISED)


def percentile(time: Ints, level: Floats) -> tuple[Ints, Floats]:
    """Share of the last 252 sessions, each one included, that were no more volatile, ties counting half.

    Args:
        time: open times of the sessions [n], UTC ms, rising.
        level: of volatility [n].

    Returns:
        The sessions that have 40 behind them, and their percentiles, within (0, 1].
    """
    # What lies before the first session is NaN, which is neither below a level nor equal to it.
    years = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.full(YEAR, np.nan), level]), YEAR)[1:]
    below, same = (years < level[:, None]).sum(axis=1), (years == level[:, None]).sum(axis=1)
    found = (below + (same + 1) / 2.0) / np.minimum(np.arange(1, len(level) + 1), YEAR)
    return time[FEWEST - 1 :], found[FEWEST - 1 :]


def at_sessions(wanted: Ints, time: Ints, values: Floats) -> Floats:
    """The value [n] that each wanted session has, NaN where it has none of its own."""
    if not len(time):
        return np.full(len(wanted), np.nan)
    place = np.minimum(np.searchsorted(time, wanted), len(time) - 1)
    return np.where(time[place] == wanted, values[place], np.nan)
