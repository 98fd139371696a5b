"""A model's answer as a price, and the interval around it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidewheel.contracts.errors import BadModel
from tidewheel.contracts.states import IntervalSource
from tidewheel.features.frames import Floats
from tidewheel.ledger.registry.records import SavedPrediction
from tidewheel.models.conformal import Conformal, Coverage

RECENT = 500  #: scored predictions that an interval and its coverage are taken from
_NO_SCALE = (
    "the width follows the volatility of the last 24 hours, of which fewer than 12 are stored, or in which the price "
    "stood still"
)
FARTHEST = 1e6  #: times the price that a forecast may be: errors beyond have squares without a number


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the close is expected, and how often such intervals have held it."""

    lower: float | None  #: None: there is none, and `why` says so
    upper: float | None
    level: float
    n: int  #: residuals that it was made of
    source: IntervalSource
    why: str | None
    measured_coverage: float | None  #: share of this version's scored intervals that held what came
    measured_n: int


def coverage_of(outcomes: Sequence[SavedPrediction]) -> Coverage:
    """How often the intervals of scored predictions held what came."""
    held = [
        each.lower <= each.actual_value <= each.upper
        for each in outcomes
        if each.actual_value is not None and each.lower is not None and each.upper is not None
    ]
    return Coverage.of(np.array(held, dtype=bool))


def prices_of(answers: Floats, close: Floats, *, relative: bool) -> Floats:
    """A model's answers at bars of these closes as prices, shape [n].

    Raises:
        BadModel: one is no number, or so far from the close that it cannot be meant.
    """
    with np.errstate(over="ignore"):
        prices = close * (1.0 + answers) if relative else answers
    odd = np.flatnonzero(~(np.abs(prices) <= FARTHEST * close))
    if len(odd):
        raise BadModel(
            f"the model forecasts {float(prices[odd[0]])!r} at a price of {float(close[odd[0]])!r}, which cannot be "
            "meant; see whether feature_config names the features and units of its training"
        )
    return np.asarray(prices)


def interval(
    predicted: float, scale: float, band: Conformal | None, outcomes: list[SavedPrediction], level: float
) -> Interval:
    """Around a forecast: from the model's own calibration, else from what came of earlier ones relative to the price.

    `scale` is what the residuals are in units of now, in prices; without it there is no interval.
    """
    known = [(each, each.actual_value) for each in outcomes if each.actual_value is not None]
    residuals = np.array([(actual - each.predicted_value) / each.current_price for each, actual in known])
    source = IntervalSource.CALIBRATION if band is not None else IntervalSource.OUTCOMES
    found = band or Conformal.of(residuals, level)
    bounds = None if np.isnan(scale) else found.around(predicted, scale)
    coverage = coverage_of(outcomes)
    lower, upper = bounds or (None, None)
    return Interval(
        lower=lower,
        upper=upper,
        level=found.level,
        n=found.n,
        source=source if bounds else IntervalSource.NONE,
        why=found.why or (None if bounds else _NO_SCALE),
        measured_coverage=coverage.share,
        measured_n=coverage.n,
    )
