"""A model's answer as a price, the interval around it, and what its inputs look like on the day it is registered."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadModel, NoHistoricalData
from tidewheel.contracts.states import IntervalSource
from tidewheel.features.frames import Floats
from tidewheel.features.hourly import table
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.records import SavedPrediction
from tidewheel.models.conformal import Conformal, Coverage
from tidewheel.models.drift import MIN_SAMPLES, Reference
from tidewheel.registry.config import FeatureConfig
from tidewheel.registry.hours import recent_hours

RECENT = 500  #: scored predictions that an interval and its coverage are taken from
REFERENCE_HOURS = 24 * 90  #: that drift is measured from, of a user's model
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


def reference_of(ledger: Ledger, symbols: Sequence[str], config: FeatureConfig) -> dict[str, Any] | None:
    """How each input of a user's model is distributed in the hours stored so far; None where they are too few.

    What it was fitted on is his to know: drift is told from the day of its registration on.
    """
    names = sorted({name for named in config.features.values() for name in named} - {"horizon"})
    try:
        recent = recent_hours(ledger, None, symbols, REFERENCE_HOURS)
    except NoHistoricalData:
        return None
    rows = table(recent.frame, names, horizon=1, relative=config.relative)
    rows = rows[~np.isnan(rows).any(axis=1)]
    if len(rows) < MIN_SAMPLES:
        return None
    found = {name: asdict(Reference.of(column)) for name, column in zip(names, rows.T, strict=True)}
    return {"stream": str(recent.stream), "features": found}


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
