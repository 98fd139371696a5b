"""Small candles for the simulator's tests."""

import numpy as np

from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import parse_time, step_millis
from tidewheel.features.frames import CandleFrame
from tidewheel.market.sim.scenario import Scenario, Series

START = parse_time("2024-03-01T00:00Z")


def candles(count: int, timeframe: str = "1m", missing: tuple[int, ...] = ()) -> CandleFrame:
    """Bars that rise by 1 from 100, each with a range of 2; those numbered in `missing` are absent."""
    step = step_millis(timeframe)
    rows = [
        (START + at * step, 100.0 + at, 101.5 + at, 99.5 + at, 101.0 + at, 1.0 + at)
        for at in range(count)
        if at not in missing
    ]
    return CandleFrame.from_rows(step, rows)


def told(*frames: tuple[str, str, CandleFrame], origin: Origin = Origin.REPLAY) -> Scenario:
    """A scenario of `(symbol, timeframe, frame)`, in one phase."""
    end = max(int(frame.open_time[-1]) + frame.step for _, _, frame in frames)
    return Scenario("made", origin, START, (end,), tuple(Series(*one) for one in frames))


def same(one: CandleFrame, other: CandleFrame) -> bool:
    """Whether two frames hold the same bars."""
    return bool(np.array_equal(one.open_time, other.open_time) and np.array_equal(one.matrix(), other.matrix()))
