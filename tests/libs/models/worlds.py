"""Markets whose truth is known."""

import numpy as np

from tidewheel.features.frames import CandleFrame, Floats, Ints

MINUTE = 60_000
START = 1_700_000_040_000 // MINUTE * MINUTE
MEANS, DEVIATIONS = np.array([0.5, -0.5, 0.0]), np.array([1.0, 2.0, 0.4])  #: of bull, bear, chop, in units of `size`


def regime_path(bars: int, seed: int, stay: float = 0.995) -> Ints:
    """True states (0 bull, 1 bear, 2 chop) of a market that keeps its state with probability `stay`."""
    rng = np.random.default_rng(seed)
    switches, jumps = rng.random(bars) > stay, rng.integers(1, 3, size=bars)
    return (np.cumsum(np.where(switches, jumps, 0)) % 3).astype(np.int64)


def regime_returns(states: Ints, seed: int, size: float = 1e-3) -> Floats:
    """Log returns of a market that is in `states`."""
    noise = np.random.default_rng(seed + 1_000).standard_normal(len(states))
    return size * (MEANS[states] + DEVIATIONS[states] * noise)


def candles(returns: Floats, start: int = START, step: int = MINUTE) -> CandleFrame:
    """Candles with these log returns; one bar more than returns."""
    close = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    opened = np.concatenate([[100.0], close[:-1]])
    times = start + step * np.arange(len(close))
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    return CandleFrame.from_rows(step, np.column_stack([times, opened, high, low, close, np.ones(len(close))]))


def market(bars: int, seed: int, size: float = 1e-3) -> CandleFrame:
    """A regime-switching market of `bars` candles."""
    return candles(regime_returns(regime_path(bars - 1, seed), seed, size))
