"""Today's signals: which tickers have dipped in the newest session, and how likely each is to bounce."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tidewheel.bounce.entries import CachedModel
from tidewheel.bounce.gathering import Volatility, why_unusable
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import HIGH_VOLATILITY, LOW_VOLATILITY, BounceHunterConfig
from tidewheel.contracts.errors import BadInput, Conflict, NotEnoughData
from tidewheel.contracts.keys import LONGEST_PAUSE
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, UtcMillis, iso
from tidewheel.features.bounce import OWN
from tidewheel.features.bounce import newest as newest_rows
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.volatility import YEAR, Squares, percentile

_BEHIND = 5 * DAY  #: that a ticker's newest session may lie before the newest of all


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketVolatility:
    """Where the market's volatility stands in its past year."""

    source: str  #: `universe`, or the stream of the index
    percentile: float  #: within (0, 1]

    @property
    def regime(self) -> Literal["low", "normal", "high"]:
        """`low`, `normal` or `high`."""
        if self.percentile >= HIGH_VOLATILITY:
            return "high"
        return "low" if self.percentile < LOW_VOLATILITY else "normal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """A ticker that has dipped, and whose model's probability reaches the threshold."""

    ticker: str
    session: UtcMillis  #: open time of the session at whose close it is decided
    probability: float  #: that it gains `rebound_pct` before it loses `stop_pct`, within `horizon_days` sessions
    features: Mapping[str, float]  #: by the names of `features.bounce.OWN`
    volatility: MarketVolatility  #: of that session
    entry_price: float  #: the close
    target_price: float
    stop_price: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What a scan found."""

    session: UtcMillis  #: open time of the newest session
    scanned: tuple[str, ...]  #: tickers
    left_out: Mapping[str, str]  #: ticker -> why it was not scanned
    origin: Origin  #: the least real one of the universe's streams
    volatility: MarketVolatility  #: of that session
    threshold: float  #: of the probability, there
    signals: tuple[Signal, ...]  #: the most probable first


def scan(bars: DailyBars, cached: CachedModel) -> Scan:
    """The signals of the newest session that had closed by the configuration's `as_of`, from bars read now.

    Raises:
        Conflict: `model_from_later`, the model has learnt what was not known then.
        BadInput: a ticker is unknown; or the entry is of another volatility index.
        NotEnoughData: no ticker can be scanned, or its market's volatility not be told; says why.
    """
    config, source = cached.metadata.config, cached.metadata.volatility_source
    _require_earlier(cached)
    if source != bars.volatility_source:
        raise BadInput(f"the entry takes its volatility from {source}, and this scan from {bars.volatility_source}")
    streams = bars.streams(config.tickers)
    start, found = bars.recent(streams.values(), config.as_of)
    sessions = dict(zip(streams, found, strict=True))
    # What a fit could not use stays out until the next one: its model and its volatility know nothing of it.
    reasons = {**cached.gathered.left_out, **_left_out(sessions, config)}
    usable = {ticker: frame for ticker, frame in sessions.items() if ticker not in reasons}
    if not usable:
        raise NotEnoughData(f"none of {len(sessions)} tickers can be scanned: {'; '.join(list(reasons.values())[:5])}")
    newest = max(int(frame.open_time[-1]) for frame in usable.values())
    # Who cannot be scanned today, being behind or paused, is part of the market all the same, as it is of a fit's.
    part = [ticker for ticker in sessions if ticker in cached.gathered.dips and not _split(reasons.get(ticker))]
    levels = _volatility(bars, cached, [sessions[ticker] for ticker in part], start, newest)
    at = {ticker: float(levels.at(frame.open_time[-1:])[0]) for ticker, frame in usable.items()}
    reasons |= {ticker: _untold(ticker, source) for ticker, level in at.items() if np.isnan(level)}
    judged = {
        ticker: MarketVolatility(source=source, percentile=level)
        for ticker, level in at.items()
        if ticker not in reasons
    }
    volatility = MarketVolatility(source=source, percentile=float(levels.percentile[-1]))
    return Scan(
        session=newest,
        scanned=tuple(judged),
        left_out=reasons,
        origin=Origin.least_real(stream.origin for stream in streams.values()),
        volatility=volatility,
        threshold=config.threshold(volatility.percentile),
        signals=tuple(
            sorted(_signals(cached, usable, judged), key=lambda signal: (-signal.probability, signal.ticker))
        ),
    )


def _require_earlier(cached: CachedModel) -> None:
    as_of = cached.metadata.config.as_of
    latest = max(cached.model.known_at, cached.metadata.data_as_of)
    if as_of is not None and latest > as_of:
        raise Conflict(
            f"the model knows of {iso(latest)}, and the scan is as of {iso(as_of)}; clear the entry and scan again",
            code="model_from_later",
        )


def _left_out(sessions: Mapping[str, CandleFrame], config: BounceHunterConfig) -> dict[str, str]:
    """Why a ticker is not scanned: its bars cannot be used, or end before the others'."""
    newest = max((int(frame.open_time[-1]) for frame in sessions.values() if len(frame)), default=0)
    found = {}
    for ticker, frame in sessions.items():
        if newest and not len(frame):  # none was read of what ended so long ago, which says nothing of its history
            why: str | None = _behind(ticker, "more than a year earlier", newest)
        elif newest and (last := int(frame.open_time[-1])) < newest - _BEHIND:
            why = _behind(ticker, f"of {iso(last)[:10]}", newest)
        else:
            why = why_unusable(ticker, frame, config)
        if why is not None:
            found[ticker] = why
    return found


def _split(why: str | None) -> bool:
    """Whether a ticker is left out for a jump that is no return."""
    return why is not None and why.startswith("unadjusted_split:")


def _behind(ticker: str, ended: str, newest: UtcMillis) -> str:
    return (
        f"behind: the newest session of {ticker} is {ended}, that of the universe of {iso(newest)[:10]}; "
        "import what came since"
    )


def _volatility(
    bars: DailyBars, cached: CachedModel, market: Sequence[CandleFrame], start: UtcMillis, newest: UtcMillis
) -> Volatility:
    """The volatility of the newest session and of the few before it, as a fit would tell it.

    Raises:
        NotEnoughData: fewer than 40 sessions of it are known, or the index ends earlier.
    """
    index = bars.index(start, cached.metadata.config.as_of)
    if index is not None:
        time, level = index.open_time, index.close
    else:
        # Returns within the first days need closes that were not read, across a weekend or a break.
        fresh = start + LONGEST_PAUSE
        squares = [Squares.of(frame).between(fresh, None) for frame in market]
        time, level = Squares.added([cached.gathered.squares.between(None, fresh), Squares.added(squares)]).realised()
    upto = int(np.searchsorted(time, newest, "right"))
    since = max(0, upto - YEAR - _BEHIND // DAY)
    time, found = percentile(time[since:upto], level[since:upto])
    if not len(time) or time[-1] != newest:
        ends = f"ends on {iso(int(time[-1]))[:10]}" if len(time) else "is too short"
        raise NotEnoughData(
            f"the volatility of {bars.volatility_source} {ends}, and the newest session is of {iso(newest)[:10]}; "
            "import what is missing"
        )
    late = time >= newest - _BEHIND
    return Volatility(time[late], found[late])


def _signals(
    cached: CachedModel, usable: Mapping[str, CandleFrame], judged: Mapping[str, MarketVolatility]
) -> list[Signal]:
    """Tickers whose newest session is a dip that the model rates high enough, each by its own session's volatility."""
    config = cached.metadata.config
    rows, money = newest_rows([usable[ticker] for ticker in judged])
    dipped = {
        ticker: row for ticker, row, traded in zip(judged, rows, money, strict=True) if _dips(row, traded, config)
    }
    if not dipped:
        return []
    features = np.array([[*row, judged[ticker].percentile] for ticker, row in dipped.items()])
    chances = dict(zip(dipped, cached.model.probability(features).tolist(), strict=True))
    return [
        _signal(ticker, usable[ticker], row, judged[ticker], chances[ticker], config)
        for ticker, row in dipped.items()
        if chances[ticker] >= config.threshold(judged[ticker].percentile)
    ]


def _dips(row: Floats, traded: float, config: BounceHunterConfig) -> bool:
    """Whether the row [6] is that of a dip, in an upward market that trades enough."""
    named = dict(zip(OWN, row.tolist(), strict=True))
    fell = named["z5"] <= config.z_score_drop and named["rsi2"] <= config.rsi2_max
    return fell and named["dist_200"] > config.max_dist_200dma and traded >= config.min_adv_usd


def _untold(ticker: str, source: str) -> str:
    return f"no_volatility: {source} has none of the newest session of {ticker}; import what is missing"


def _signal(
    ticker: str,
    sessions: CandleFrame,
    row: Floats,
    volatility: MarketVolatility,
    probability: float,
    config: BounceHunterConfig,
) -> Signal:
    entry = float(sessions.close[-1])
    return Signal(
        ticker=ticker,
        session=int(sessions.open_time[-1]),
        probability=probability,
        features=dict(zip(OWN, row.tolist(), strict=True)),
        volatility=volatility,
        entry_price=entry,
        target_price=entry * (1.0 + config.rebound_pct),
        stop_price=entry * (1.0 - config.stop_pct),
    )
