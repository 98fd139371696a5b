"""Log returns and their realised volatility.

Every number here is the same to the bit wherever its bar stands in the array: sums run oldest first over each
window afresh, and logarithms are taken one by one (a vectorised `log` may round differently near an array's end).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from tidewheel.contracts.errors import BadFit, BadInput
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.signature import Feature, feature_signature

WINDOW = 30  #: log returns in one realised volatility, so 31 bars give the first feature row
VOLATILITY_FLOOR = 0.05  #: in units of the stream's scale; keeps a still market's log volatility finite
MIN_MOVING = 0.02  #: share of bars that must move before a market counts as one that can be modelled
_MAD_TO_SIGMA = 1.4826  #: sigma of a Gaussian over its median absolute deviation


def _log(values: Floats) -> Floats:
    return np.fromiter(map(math.log, values.tolist()), dtype=np.float64, count=len(values))


def log_returns(close: Floats) -> Floats:
    """ln(close_t / close_{t-1}) of contiguous bars, shape [n - 1] (empty for fewer than two bars)."""
    return _log(close[1:] / close[:-1])


def segment_returns(frames: Sequence[CandleFrame]) -> list[Floats]:
    """Log returns of each contiguous run of bars in `frames`; no return spans a missing bar."""
    runs = [log_returns(run.close) for frame in frames for run in frame.segments()]
    return [run for run in runs if len(run)]


def checked_returns(logret: Iterable[float]) -> Floats:
    """Log returns as float64, shape [n].

    Raises:
        BadInput: one is not a finite number; names its place.
    """
    values = np.asarray(logret, dtype=np.float64)
    if values.ndim != 1:
        raise BadInput(f"log returns have shape {values.shape}; send one flat list of numbers")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise BadInput(f"log return number {bad[0]} is {values[bad[0]]}; every one must be a finite number")
    return values


def robust_scale(stream: str, runs: Sequence[Floats]) -> float:
    """Typical size of a log return: 1.4826 x the median of |r| over the bars that moved.

    Bars without a move are left out, so an illiquid market (half its 5m bars may stand still) has a scale too.

    Raises:
        BadFit: `constant_market`, when fewer than 2 % of the bars moved.
    """
    returns = np.concatenate([np.zeros(0), *runs])
    moved = np.abs(returns[returns != 0.0])
    if len(moved) < max(1.0, MIN_MOVING * len(returns)):
        raise BadFit(
            f"{stream} is a constant market: {len(moved)} of its {len(returns)} bars moved, and a regime model needs "
            f"{MIN_MOVING:.0%}; leave it out of SYMBOLS or widen TRAIN_WINDOW_DAYS",
            code="constant_market",
        )
    return _MAD_TO_SIGMA * float(np.median(moved))


def regime_features(logret: Floats, scale: float) -> Floats:
    """What the regime model reads: scaled log return and log realised volatility, shape [max(0, n - 29), 2].

    Row t describes the bar of return t + 29: z = r / scale, and v = ln sqrt(mean of z² over 30 returns + floor²).
    """
    z = logret / scale
    rows = len(z) - WINDOW + 1
    if rows <= 0:
        return np.zeros((0, 2))
    squares = z * z
    total = squares[:rows].copy()
    for lag in range(1, WINDOW):
        total += squares[lag : lag + rows]
    volatility = 0.5 * _log(total / WINDOW + VOLATILITY_FLOOR**2)
    return np.column_stack([z[WINDOW - 1 :], volatility])


def regime_signature(timeframe: str) -> str:
    """Feature signature of the regime model on bars of `timeframe`."""
    return feature_signature(
        [
            Feature("logret", impl_version=1),
            Feature("log_realised_volatility", impl_version=1, params={"window": WINDOW, "floor": VOLATILITY_FLOOR}),
        ],
        input_columns=["close"],
        timeframe=timeframe,
        window=WINDOW,
        scaling="per stream, 1.4826 x median |logret| over moving bars",
    )
