"""A backtest: what trading the signals would have come to, had each been decided with what was known at its close.

Each month a model is fitted on the dips whose ends were known when its first session closed, and judges that month's
dips; what it finds is bought at the next open (`portfolio.py`). Every order is filled and moves no price: how much
money a market bears, beyond what `min_adv_usd` keeps out, is not looked at.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from tidewheel.bounce.performance import YEAR, Performance, buy_and_hold
from tidewheel.bounce.picture import picture
from tidewheel.bounce.portfolio import Course, Market, Portfolio, Terms, Wish
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadFit, BadInput, NotEnoughData
from tidewheel.contracts.times import DAY, UtcMillis, iso
from tidewheel.features.bounce import NAMES, VOLATILITY
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.models.bounce import BounceModel, DipRows

_DISTANCE, _LEVEL = NAMES.index("dist_200"), NAMES.index(VOLATILITY)
_RANGES = {
    "capital": (1e-6, 1e15),
    "position_size": (1e-6, 1.0),
    "fee_bps": (0.0, 1_000.0),
    "slippage_bps": (0.0, 1_000.0),
    "max_positions": (1, 1_000),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BacktestTerms:
    """When, with what money and at what cost; one hundredth of a percent is a basis point (bps)."""

    start: UtcMillis  #: the first session opens then or later
    end: UtcMillis  #: the last one then or earlier
    capital: float = 100_000.0  #: price units
    position_size: float = 0.1  #: share of equity that a purchase takes
    fee_bps: float = 1.0  #: of the money moved, each way
    slippage_bps: float = 5.0  #: likewise: how much worse than the bar's price
    max_positions: int = 10  #: at a time

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise BadInput(f"start {iso(self.start)[:10]} lies after end {iso(self.end)[:10]}; exchange them")
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            if not (isfinite(value) and lowest <= value <= highest):
                raise BadInput(f"{name} = {value} is not within {lowest:g} and {highest:g}")
        if self.max_positions != int(self.max_positions):
            raise BadInput(f"max_positions = {self.max_positions} is not a whole number")

    @property
    def cost(self) -> float:
        """Share of the money that each way takes."""
        return (self.fee_bps + self.slippage_bps) / 10_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BacktestMetrics:
    """What it came to; shares are decimals, None where there is nothing to tell of."""

    strategy: Performance
    buy_and_hold: Performance  #: equal money in every ticker at its first open
    trades: int
    hit_rate: float | None  #: share of trades that gained
    mean_trade: float | None  #: mean of `pnl_pct`
    exposure: float  #: mean share of equity that was invested at the close
    turnover: float  #: money bought and sold a year, in multiples of the mean equity
    costs: float  #: money
    dips: int  #: in the time, of all tickers
    dips_without_model: int  #: of them: too few ends were known to fit one
    signals: int
    signals_not_taken: Mapping[str, int]  #: held, no_slot, no_cash, no_session


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Backtest:
    """Trades, equity by day [n], and figures."""

    time: Ints  #: open times of the sessions, UTC ms
    course: Course
    benchmark: Floats  #: equity [n] of buy and hold
    capital: float  #: that both began with
    metrics: BacktestMetrics

    def to_json(self) -> dict[str, Any]:
        """Members `trades`, `equity`, `metrics` and `picture` (SVG), of JSON values; days as 2026-01-31."""
        course, days = self.course, [_day(time) for time in self.time.tolist()]
        columns = (
            days,
            course.equity.tolist(),
            course.cash.tolist(),
            course.positions.tolist(),
            self.benchmark.tolist(),
        )
        names = ("date", "equity", "cash", "positions", "buy_and_hold")
        trades = [
            asdict(trade)
            | {name: _day(getattr(trade, name)) for name in ("decided_on", "entry_date", "exit_date")}
            | {"model_known_at": iso(trade.model_known_at)}
            for trade in course.trades
        ]
        metrics = asdict(self.metrics)
        return {
            "trades": trades,
            "equity": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)],
            "metrics": metrics.pop("strategy") | metrics,
            "picture": picture(self.time, course.equity, self.benchmark, self.capital),
        }


def backtest(
    bars: Mapping[str, CandleFrame], rows: DipRows, config: BounceHunterConfig, terms: BacktestTerms
) -> Backtest:
    """Trade the signals of `rows`.

    Args:
        bars: sessions of each ticker, sorted by ticker; what lies outside of the time is not looked at.
        rows: the dips of the same tickers, also those before the time, with `ticker` the place in `bars`.

    Raises:
        BadInput: `no_sessions`, no ticker traded in that time.
    """
    market = Market.of(bars, terms.start, terms.end)
    if not len(market.time):
        reach = [(int(frame.open_time[0]), int(frame.open_time[-1])) for frame in bars.values() if len(frame)]
        known = f"from {_day(min(reach)[0])} to {_day(max(last for _, last in reach))}" if reach else "nowhere"
        raise BadInput(
            f"no ticker has a session from {_day(terms.start)} to {_day(terms.end)}; their bars reach {known}",
            code="no_sessions",
        )
    signals = _Signals(rows, config, market.time)
    portfolio = Portfolio(
        market,
        Terms.of(
            config, capital=terms.capital, position_size=terms.position_size, max_positions=terms.max_positions,
            cost=terms.cost,
        ),
    )  # fmt: skip
    course = portfolio.through(signals.of)
    benchmark = buy_and_hold(market, terms.capital, terms.cost)
    return Backtest(
        time=market.time,
        course=course,
        benchmark=benchmark,
        capital=terms.capital,
        metrics=_metrics(market.time, course, benchmark, terms, signals),
    )


class _Signals:
    """The wishes of each day, by the model of its month."""

    def __init__(self, rows: DipRows, config: BounceHunterConfig, time: Ints) -> None:
        self._rows, self._config, self._time = rows, config, time
        months = time.astype("datetime64[ms]").astype("datetime64[M]")
        self._first = np.searchsorted(months, months)  # the day of each day's month at whose close its model is made
        self._models: dict[int, BounceModel | None] = {}
        self.dips = self.without_model = self.found = 0

    def of(self, day: int) -> list[Wish]:
        """At the close of a day, the most probable first."""
        low, high = np.searchsorted(self._rows.time, [self._time[day], self._time[day] + 1])
        dipped = self._rows.take(slice(int(low), int(high)))
        self.dips += len(dipped)
        if not len(dipped):
            return []
        model = self._model(int(self._first[day]))
        if model is None:
            self.without_model += len(dipped)
            return []
        dipped = dipped.take(dipped.features[:, _DISTANCE] > self._config.max_dist_200dma)
        chances = model.probability(dipped.features)
        wishes = [
            Wish(column, chance, model.known_at)
            for column, chance, level in zip(
                dipped.ticker.tolist(), chances.tolist(), dipped.features[:, _LEVEL].tolist(), strict=True
            )
            if chance >= self._config.threshold(level)
        ]
        self.found += len(wishes)
        return sorted(wishes, key=lambda wish: (-wish.probability, wish.column))

    def _model(self, day: int) -> BounceModel | None:
        """Fitted at the close of that day on the ends known by then; None where they are too few, or all alike."""
        if day not in self._models:
            known = self._rows.known(int(self._time[day]) + DAY)
            try:
                self._models[day] = BounceModel.fit(known, fewest=self._config.min_event_samples)
            except (NotEnoughData, BadFit):
                self._models[day] = None
        return self._models[day]


def _metrics(time: Ints, course: Course, benchmark: Floats, terms: BacktestTerms, signals: _Signals) -> BacktestMetrics:
    trades, years = course.trades, (int(time[-1]) + DAY - int(time[0])) / YEAR
    moved = sum(trade.quantity * (trade.entry_price + trade.exit_price) for trade in trades)
    return BacktestMetrics(
        strategy=Performance.of(time, course.equity, terms.capital),
        buy_and_hold=Performance.of(time, benchmark, terms.capital),
        trades=len(trades),
        hit_rate=float(np.mean([trade.pnl > 0 for trade in trades])) if trades else None,
        mean_trade=float(np.mean([trade.pnl_pct for trade in trades])) if trades else None,
        exposure=float((1.0 - course.cash / course.equity).mean()),
        turnover=float(moved / course.equity.mean() / years),
        costs=float(sum(trade.costs for trade in trades)),
        dips=signals.dips,
        dips_without_model=signals.without_model,
        signals=signals.found,
        signals_not_taken=course.not_taken,
    )


def _day(time: UtcMillis) -> str:
    return iso(time)[:10]
