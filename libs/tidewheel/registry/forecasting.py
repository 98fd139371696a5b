"""A forecast: the hours it is made from, the model's answer, and the interval around it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadModel, NoHistoricalData
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import IntervalSource
from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.hourly import parts_of_hour, table, to_hours
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Stream
from tidewheel.ledger.registry.records import SavedPrediction
from tidewheel.ledger.streams import known_stream
from tidewheel.models.conformal import Conformal, Coverage
from tidewheel.models.drift import MIN_SAMPLES, Reference
from tidewheel.registry.config import FeatureConfig

RECENT = 500  #: scored predictions that an interval and its coverage are taken from
REFERENCE_HOURS = 24 * 90  #: that drift is measured from, of a user's model
_NO_SCALE = (
    "the width follows the volatility of the last 24 hours, of which fewer than 12 are stored, or in which the price "
    "stood still"
)
FARTHEST = 1e6  #: times the price that a forecast may be: errors beyond have squares without a number
STALE_HOURS = 3  #: that the base hour may lie behind the stream's clock


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


@dataclass(frozen=True, eq=False, slots=True)
class RecentHours:
    """The newest complete hours of a stream."""

    stream: StreamKey
    frame: CandleFrame
    stale: bool  #: whether the last of them lies more than 3 hours behind the stream's clock


def recent_hours(ledger: Ledger, wanted: StreamKey | None, symbols: Sequence[str], hours: int) -> RecentHours:
    """The newest `hours` hours and a few more.

    Where no stream is wanted, of the first of `symbols` that the ledger holds, else of its first stream.

    Raises:
        NotFound: the ledger has no such stream.
        NoHistoricalData: not one hour of it is complete, or there is no stream at all.
        BadInput: its bars do not make up hours.
    """
    streams = ledger.streams.all()
    stream = meant_stream(streams, wanted, symbols)
    key = stream.key
    # The newest hour is rarely complete, and the first may be cut.
    frame = to_hours(ledger.bars.last(key, (hours + 2) * parts_of_hour(key.step)))
    if not len(frame):
        raise NoHistoricalData(str(key))
    behind = ledger.streams.clock(stream, streams) - (int(frame.open_time[-1]) + HOUR)
    return RecentHours(key, frame, behind > STALE_HOURS * HOUR)


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


def meant_stream(streams: Sequence[Stream], wanted: StreamKey | None, symbols: Sequence[str]) -> Stream:
    """The wanted stream, or where none is wanted, `default_stream`.

    Raises:
        NotFound: it is not among `streams`.
        NoHistoricalData: there is none to choose.
    """
    key = wanted or default_stream([each.key for each in streams], symbols)
    if key is None:
        raise NoHistoricalData("none")
    return known_stream(key, streams)


def default_stream(known: Sequence[StreamKey], symbols: Sequence[str]) -> StreamKey | None:
    """Which of the known streams is meant where none is named: of the first of `symbols` that has one, else the first.

    One whose bars do not make up hours is never meant.
    """
    hourly = [key for key in known if HOUR % key.step == 0]
    named = [key for symbol in symbols for key in hourly if _plain(key.symbol) == _plain(symbol)]
    return next(iter([*named, *hourly]), None)


def _plain(symbol: str) -> str:
    """`BTC/USDT` may be written btcusdt too."""
    return symbol.replace("/", "").lower()


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
