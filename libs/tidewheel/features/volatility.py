"""How volatile a market is against its own past year: the percentile that decides which threshold a signal must reach.

Either a volatility index is given, or the universe's own realised volatility stands for it. That is kept as a sum and a
count for each session, so that a ticker is added without reading the others again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidewheel.features.frames import CandleFrame, Floats, Ints

YEAR = 252  #: sessions that a percentile is taken in
FEWEST = 40  #: sessions without which there is none
REALISED = 21  #: sessions that realised volatility looks back on


@dataclass(frozen=True, eq=False, slots=True)
class Squares:
    """Squared daily log returns of a universe, added up by session."""

    time: Ints  #: open times of the sessions, UTC ms, rising
    total: Floats  #: sum over the tickers that traded
    tickers: Ints  #: how many they were

    @classmethod
    def of(cls, sessions: CandleFrame) -> "Squares":
        """Those of one ticker."""
        change = np.diff(np.log(sessions.close))
        return cls(sessions.open_time[1:], change**2, np.ones(len(change), np.int64))

    @classmethod
    def added(cls, parts: Mapping[str, "Squares"]) -> "Squares":
        """Those of several tickers, added in the order of their names whatever the order they come in."""
        time = np.unique(np.concatenate([np.zeros(0, np.int64), *(part.time for part in parts.values())]))
        total, tickers = np.zeros(len(time)), np.zeros(len(time), np.int64)
        for name in sorted(parts):
            at = np.searchsorted(time, parts[name].time)
            total[at] += parts[name].total
            tickers[at] += parts[name].tickers
        return cls(time, total, tickers)

    def realised(self) -> tuple[Ints, Floats]:
        """Root of the mean square of 21 sessions, by session; the first 20 have none."""
        mean = self.total / self.tickers
        if len(mean) < REALISED:
            return self.time[:0], mean[:0]
        views = np.lib.stride_tricks.sliding_window_view(mean, REALISED)
        return self.time[REALISED - 1 :], np.sqrt(views.mean(axis=1))


def percentile(time: Ints, level: Floats) -> tuple[Ints, Floats]:
    """Share of the last 252 sessions, each one included, that were no more volatile, ties counting half.

    Args:
        time: open times of the sessions [n], UTC ms, rising.
        level: of volatility [n].

    Returns:
        The sessions that have 40 behind them, and their percentiles, within (0, 1].
    """
    found = np.full(len(level), np.nan)
    for at in range(FEWEST - 1, len(level)):
        past = level[max(0, at - YEAR + 1) : at + 1]
        below, same = (past < level[at]).sum(), (past == level[at]).sum()
        found[at] = (below + (same + 1) / 2.0) / len(past)
    return time[FEWEST - 1 :], found[FEWEST - 1 :]


def at_sessions(wanted: Ints, time: Ints, values: Floats) -> Floats:
    """The value [n] that each wanted session has, NaN where it has none of its own."""
    if not len(time):
        return np.full(len(wanted), np.nan)
    place = np.minimum(np.searchsorted(time, wanted), len(time) - 1)
    return np.where(time[place] == wanted, values[place], np.nan)
