"""A portfolio that buys dips day by day: what it wishes at a close it gets at the next open, and not before.

Within a session things come in this order: what gapped through its stop or target leaves at the open; what was ordered
at an earlier close is bought there; then stops are met, before targets where a bar touches both; at the close leaves
what has been held to its horizon. Stop and target lie about the price that was paid.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.keys import LONGEST_PAUSE
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame, Floats, Ints

LEAST_FILL = 0.1  #: share of an order's money below which what cash is left buys nothing
Reason = Literal["stop", "target", "horizon", "end"]


@dataclass(frozen=True, eq=False, slots=True)
class Market:
    """Prices [days, tickers] of all sessions of a time, NaN where a ticker had none."""

    tickers: tuple[str, ...]
    time: Ints  #: open times [days], UTC ms, rising
    open: Floats
    high: Floats
    low: Floats
    close: Floats

    @classmethod
    def of(cls, bars: Mapping[str, CandleFrame], start: UtcMillis, end: UtcMillis) -> "Market":
        """The sessions of these tickers that opened from `start` to `end`, both included."""
        frames = [frame.between(start, end + 1) for frame in bars.values()]
        time = np.unique(np.concatenate([np.zeros(0, np.int64), *(frame.open_time for frame in frames)]))
        prices = np.full((4, len(time), len(frames)), np.nan)
        for column, frame in enumerate(frames):
            prices[:, np.searchsorted(time, frame.open_time), column] = frame.matrix()[:, :4].T
        return cls(tuple(bars), time, *prices)

    def last_close(self) -> Floats:
        """The newest close [days, tickers] of each day or before, NaN before the first."""
        day = np.where(np.isnan(self.close), -1, np.arange(len(self.time))[:, None])
        newest = np.maximum.accumulate(day, axis=0)
        found = np.take_along_axis(self.close, np.maximum(newest, 0), axis=0)
        return np.where(newest < 0, np.nan, found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What may be bought, and what it costs."""

    capital: float  #: money at the beginning
    position_size: float  #: share of equity that a purchase is meant to take
    max_positions: int  #: at a time, those on order included
    cost: float  #: share of the money that each purchase and each sale takes: fee and slippage
    rebound: float  #: share of the price paid at which a position is sold above it
    stop: float  #: and below it
    horizon: int  #: sessions after which it is sold in any case

    @classmethod
    def of(
        cls, config: BounceHunterConfig, *, capital: float, position_size: float, max_positions: int, cost: float
    ) -> "Terms":
        """With target, stop and horizon of the labels."""
        return cls(
            capital=capital, position_size=position_size, max_positions=max_positions, cost=cost,
            rebound=config.rebound_pct, stop=config.stop_pct, horizon=config.horizon_days,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wish:
    """A signal at the close of a session."""

    column: int  #: of its ticker
    probability: float
    known_at: UtcMillis  #: when the last label that its model has learnt was known


@dataclass(frozen=True, kw_only=True, slots=True)
class Trade:
    """Bought and sold."""

    ticker: str
    decided_on: UtcMillis  #: open time of the session at whose close
    entry_date: UtcMillis
    entry_price: float
    exit_date: UtcMillis
    exit_price: float
    exit_reason: Reason
    quantity: float  #: parts of a share included
    costs: float  #: money, of both ways
    pnl: float  #: money, costs taken off
    pnl_pct: float  #: share of what the quantity cost without them
    probability: float
    model_known_at: UtcMillis


@dataclass(frozen=True, slots=True)
class _Order:
    wish: Wish
    decided: int  # day
    money: float


@dataclass(slots=True)
class _Position:
    order: _Order
    day: int
    price: float
    quantity: float
    sessions: int = 0


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Course:
    """What became of it, by day [n]."""

    equity: Floats  #: at the close
    cash: Floats
    positions: Ints
    trades: tuple[Trade, ...]  #: in the order of purchase
    not_taken: Mapping[str, int]  #: why wishes came to nothing: held, no_slot, no_cash, no_session


@dataclass(slots=True)
class Portfolio:
    """Cash, positions and orders, on their way through a market."""

    market: Market
    terms: Terms
    cash: float = field(init=False)
    _held: list[_Position] = field(init=False, default_factory=list)
    _orders: list[_Order] = field(init=False, default_factory=list)
    _trades: list[Trade] = field(init=False, default_factory=list)
    _not_taken: Counter[str] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self.cash = self.terms.capital

    def through(self, wishes: Callable[[int], Sequence[Wish]]) -> Course:
        """Go from the first day to the last; `wishes` tells those of a day, the best first, at its close."""
        days = len(self.market.time)
        last_close = self.market.last_close()
        equity, cash, held = np.zeros(days), np.zeros(days), np.zeros(days, np.int64)
        for day in range(days):
            self._gap(day)
            self._buy(day)
            self._meet(day)
            if day == days - 1:
                self._end(day, last_close[day])
            cash[day], held[day] = self.cash, len(self._held)
            equity[day] = self.cash + sum(each.quantity * last_close[day, _column(each)] for each in self._held)
            self._wish(day, wishes(day), equity[day])
        self._not_taken["no_session"] += len(self._orders)
        return Course(
            equity=equity,
            cash=cash,
            positions=held,
            trades=tuple(sorted(self._trades, key=lambda trade: (trade.entry_date, trade.ticker))),
            not_taken={why: self._not_taken[why] for why in ("held", "no_slot", "no_cash", "no_session")},
        )

    def _gap(self, day: int) -> None:
        for position in list(self._held):
            opened = self.market.open[day, _column(position)]
            stop, target = self._limits(position)
            if opened <= stop:
                self._sell(position, day, opened, "stop")
            elif opened >= target:
                self._sell(position, day, opened, "target")

    def _buy(self, day: int) -> None:
        waiting, self._orders = self._orders, []
        for order in waiting:
            price = self.market.open[day, order.wish.column]
            money = min(order.money, self.cash)
            if self.market.time[day] - self.market.time[order.decided] > LONGEST_PAUSE:
                self._not_taken["no_session"] += 1
            elif np.isnan(price):
                self._orders.append(order)
            elif money < LEAST_FILL * order.money:
                self._not_taken["no_cash"] += 1
            else:
                self.cash -= money
                quantity = money / (price * (1.0 + self.terms.cost))
                self._held.append(_Position(order, day, float(price), float(quantity)))

    def _meet(self, day: int) -> None:
        market = self.market
        for position in list(self._held):
            column = _column(position)
            if np.isnan(market.close[day, column]):
                continue
            position.sessions += 1
            stop, target = self._limits(position)
            if market.low[day, column] <= stop:
                self._sell(position, day, stop, "stop")
            elif market.high[day, column] >= target:
                self._sell(position, day, target, "target")
            elif position.sessions >= self.terms.horizon:
                self._sell(position, day, market.close[day, column], "horizon")

    def _end(self, day: int, last_close: Floats) -> None:
        for position in list(self._held):
            self._sell(position, day, last_close[_column(position)], "end")

    def _wish(self, day: int, wishes: Sequence[Wish], equity: float) -> None:
        taken = {_column(position) for position in self._held} | {order.wish.column for order in self._orders}
        for wish in wishes:
            if wish.column in taken:
                self._not_taken["held"] += 1
            elif len(taken) >= self.terms.max_positions:
                self._not_taken["no_slot"] += 1
            else:
                taken.add(wish.column)
                self._orders.append(_Order(wish, day, self.terms.position_size * equity))

    def _limits(self, position: _Position) -> tuple[float, float]:
        return position.price * (1.0 - self.terms.stop), position.price * (1.0 + self.terms.rebound)

    def _sell(self, position: _Position, day: int, price: float, reason: Reason) -> None:
        self._held.remove(position)
        price, quantity, cost = float(price), position.quantity, self.terms.cost
        self.cash += quantity * price * (1.0 - cost)
        costs = quantity * (position.price + price) * cost
        pnl = quantity * (price - position.price) - costs
        time, order = self.market.time, position.order
        self._trades.append(
            Trade(
                ticker=self.market.tickers[order.wish.column],
                decided_on=int(time[order.decided]),
                entry_date=int(time[position.day]),
                entry_price=position.price,
                exit_date=int(time[day]),
                exit_price=price,
                exit_reason=reason,
                quantity=quantity,
                costs=costs,
                pnl=pnl,
                pnl_pct=pnl / (quantity * position.price),
                probability=order.wish.probability,
                model_known_at=order.wish.known_at,
            )
        )


def _column(position: _Position) -> int:
    return position.order.wish.column
