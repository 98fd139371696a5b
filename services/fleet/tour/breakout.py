"""A toy engine's strategy: buy a close above, or sell one below, the range of the last bars, and follow with a stop.

It stands for the desk's own engine, so that parameters matter: in the tour, in the example of an engine, in tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tidewheel.features.frames import CandleFrame, Floats

ATR_BARS = 30
COST = 2e-4  #: of price, both ways together
MISSED_LIMIT = 3  #: bars that a limit order waits before it is withdrawn


@dataclass(frozen=True, slots=True)
class Trade:
    """What came of one decision."""

    reward: float  #: R: profit after costs by the risk at the first stop; 0 where no order was filled
    end: int  #: number of the bar after which the engine asks again


def atr(frame: CandleFrame) -> Floats:
    """Mean true range of the 30 bars up to each bar, [n]; NaN before there are 30."""
    before = np.concatenate((frame.open[:1], frame.close[:-1]))
    ranges = np.maximum(frame.high, before) - np.minimum(frame.low, before)
    sums = np.cumsum(np.concatenate(([0.0], ranges)))
    found = np.full(len(frame), np.nan)
    found[ATR_BARS - 1 :] = (sums[ATR_BARS:] - sums[:-ATR_BARS]) / ATR_BARS
    return found


def trade(frame: CandleFrame, ranges: Floats, start: int, params: Mapping[str, Any], *, patience: int = 120) -> Trade:
    """Wait for a break after bar `start`, at most `patience` bars, then hold until the stop or the last bar.

    `ranges` is `atr(frame)`. The position enters at the close that broke out (a limit order at the range's edge, if the
    price comes back within three bars) and leaves at its stop; a bar that reaches the stop is taken at the stop.
    """
    lookback = int(params["lookback_bars"])
    first, last = max(start, lookback, ATR_BARS), min(start + patience, len(frame) - 1)
    if first >= last:
        return Trade(0.0, last)
    top = sliding_window_view(frame.high[first - lookback : last - 1], lookback).max(axis=1)  # of the bars before each
    bottom = sliding_window_view(frame.low[first - lookback : last - 1], lookback).min(axis=1)
    room, close = params["entry_buffer_atr"] * ranges[first:last], frame.close[first:last]
    sides = (close > top + room).astype(int) - (close < bottom - room).astype(int)
    if not sides.any():
        return Trade(0.0, last)
    at = int(np.flatnonzero(sides)[0])
    bar, side = first + at, int(sides[at])
    if params["entry_order"] == "market":
        return _hold(frame, float(ranges[bar]), bar, float(frame.close[bar]), side, params)
    edge = float(top[at] if side > 0 else bottom[at])
    for later in range(bar + 1, min(bar + 1 + MISSED_LIMIT, len(frame))):
        if frame.low[later] <= edge <= frame.high[later]:
            return _hold(frame, float(ranges[bar]), later, edge, side, params)
    return Trade(0.0, min(bar + MISSED_LIMIT, len(frame) - 1))


def _hold(frame: CandleFrame, unit: float, entered: int, entry: float, side: int, params: Mapping[str, Any]) -> Trade:
    risk = params["stop_atr"] * unit
    stop, best = entry - side * risk, entry
    last = min(entered + int(params["max_hold_bars"]), len(frame) - 1)
    left = float(frame.close[last])
    end = last
    for bar in range(entered + 1, last + 1):
        worst = frame.low[bar] if side > 0 else frame.high[bar]
        if side * (worst - stop) <= 0:
            left, end = stop, bar
            break
        best = side * max(side * best, side * (frame.high[bar] if side > 0 else frame.low[bar]))
        stop = side * max(side * stop, side * (best - side * params["trail_atr"] * unit))
    return Trade((side * (left - entry) - COST * entry) / risk, end)
