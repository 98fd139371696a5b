"""What an exchange's rows are worth: possible bars in order, and those that are refused, each with its reason.

Rows may come in any order and several times. A bar is judged by the frame's rules and beside its neighbours; which
bars have closed is not judged here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame, Floats

OUTLIER = np.log(10.0)  #: log price; a bar so far from the bars on both of its sides is not a price
NEIGHBOURS = 3  #: bars on each side whose median speaks for that side

_TWO_VALUES = "it was sent with different values"
_OUTLIER = "a price lies more than tenfold off its neighbours"


@dataclass(frozen=True, eq=False, slots=True)
class Screened:
    """Rows, screened."""

    frame: CandleFrame  #: the possible bars
    refused: dict[UtcMillis, str]  #: open time (as sent) of each refused bar, and why

    def joined(self, later: "Screened") -> "Screened":
        """This and what a later answer showed: its values count, and a bar that it shows whole is no longer refused."""
        old = self.frame.take(~np.isin(self.frame.open_time, later.frame.open_time))
        rows = [*old.rows(), *later.frame.rows()]
        both = _without_outliers(CandleFrame.from_rows(self.frame.step, rows))
        refused = self.refused | later.refused | both.refused
        known = set(both.frame.open_time.tolist())
        return Screened(both.frame, {time: why for time, why in refused.items() if time not in known})


def screen(step: int, rows: Sequence[Sequence[Any]]) -> Screened:
    """Judge `[open_time, open, high, low, close, volume]` rows.

    Raises:
        ValueError, TypeError: they are no such rows.
    """
    table = np.array([tuple(row[:6]) for row in rows], dtype=np.float64).reshape(-1, 6)
    if not np.isfinite(table[:, 0]).all():
        raise ValueError("an open time is not a number")
    return screen_table(step, table)


def screen_table(step: int, table: Floats) -> Screened:
    """`screen` for rows that are a table already, [n, 6], each with an open time."""
    table = np.unique(table, axis=0) if len(table) else table
    times = table[:, 0].astype(np.int64)
    refused: dict[UtcMillis, str] = {}
    doubled = np.isin(times, times[1:][np.diff(times) == 0])
    refused |= dict.fromkeys(times[doubled].tolist(), _TWO_VALUES)
    table, times = table[~doubled], times[~doubled]
    opened, high, low, close, volume = np.ascontiguousarray(table[:, 1:].T)
    revision = np.zeros(len(times), dtype=np.int16)
    frame = CandleFrame(step, times, opened, high, low, close, volume, times + step, revision)
    bad = np.zeros(len(times), dtype=bool)
    for broken, why in reversed(frame.faults()):
        refused |= dict.fromkeys(times[broken].tolist(), why)
        bad |= broken
    possible = _without_outliers(frame.take(~bad))
    return Screened(possible.frame, refused | possible.refused)


def _without_outliers(frame: CandleFrame) -> Screened:
    outlying = outliers(frame)
    refused = dict.fromkeys(frame.open_time[outlying].tolist(), _OUTLIER)
    return Screened(frame.take(~outlying), refused)


def outliers(frame: CandleFrame) -> NDArray[np.bool_]:
    """The bars with a price more than tenfold off the bars before *and* off the bars after, shape [n].

    A market that moves to another level for good (a redenomination) agrees with what follows, and passes. At either
    end one side speaks alone: such a bar waits for the other side, that is, for the next request.
    """
    count = len(frame)
    if count < 2:
        return np.zeros(count, dtype=bool)
    close = np.log(frame.close)
    before, after = np.full(count, np.nan), np.full(count, np.nan)
    padded = np.concatenate([np.full(NEIGHBOURS, np.nan), close, np.full(NEIGHBOURS, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS)
    before[1:] = np.nanmedian(windows[1:count], axis=1)
    after[:-1] = np.nanmedian(windows[NEIGHBOURS + 1 : NEIGHBOURS + count], axis=1)
    top, bottom = np.log(frame.high), np.log(frame.low)

    def off(side: NDArray[np.float64]) -> NDArray[np.bool_]:
        # A side without bars agrees with nothing and says nothing.
        distant: NDArray[np.bool_] = np.isnan(side) | (top - side > OUTLIER) | (side - bottom > OUTLIER)
        return distant

    return off(before) & off(after)
