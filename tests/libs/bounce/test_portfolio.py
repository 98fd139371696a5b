"""The portfolio: trades computed by hand, and a slow twin that goes its own way to the same cents."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tidewheel.bounce.performance import Performance, buy_and_hold, drawdown
from tidewheel.bounce.portfolio import Course, Market, Portfolio, Terms, Wish
from tidewheel.contracts.times import DAY
from tidewheel.features.frames import CandleFrame

Bar = tuple[float, float, float, float]
QUIET: Bar = (100.0, 101.0, 99.0, 100.5)
TERMS = Terms(capital=1_000.0, position_size=0.5, max_positions=3, cost=0.001, rebound=0.03, stop=0.03, horizon=5)


def market(*tickers: Sequence[Bar | None], times: Sequence[int] | None = None) -> Market:
    """One day after the other; None where the ticker did not trade."""
    frames = {}
    for place, bars in enumerate(tickers):
        days = range(len(bars)) if times is None else times
        rows = [(day * DAY, *bar, 1.0) for day, bar in zip(days, bars, strict=True) if bar is not None]
        frames[f"T{place}"] = CandleFrame.from_rows(DAY, rows)
    return Market.of(frames, 0, 10_000 * DAY)


def traded(where: Market, wishes: dict[int, list[Wish]], terms: Terms = TERMS) -> Course:
    return Portfolio(where, terms).through(lambda day: wishes.get(day, []))


def wish(column: int = 0, probability: float = 0.7) -> Wish:
    return Wish(column, probability, 0)


@pytest.mark.parametrize(
    ("bars", "day", "price", "reason"),
    [
        ([QUIET, (100, 104, 99, 102)], 1, 103.0, "target"),
        ([QUIET, (100, 101, 96, 98)], 1, 97.0, "stop"),
        ([QUIET, (100, 104, 96, 103)], 1, 97.0, "stop"),
        ([QUIET, QUIET, (100, 104, 96, 103)], 2, 97.0, "stop"),
        ([QUIET, QUIET, (95, 104, 94, 103)], 2, 95.0, "stop"),
        ([QUIET, QUIET, (105, 106, 90, 91)], 2, 105.0, "target"),
        ([QUIET, QUIET, (97, 98, 96.9, 97.5)], 2, 97.0, "stop"),
        ([QUIET] * 5 + [(100, 101, 99, 99.5), QUIET], 5, 99.5, "horizon"),
        ([QUIET] * 5 + [(100, 104, 99, 99.5), QUIET], 5, 103.0, "target"),
        ([QUIET, QUIET, (100, 101, 98, 98.5)], 2, 98.5, "end"),
        ([QUIET, QUIET, None, QUIET, None, QUIET, QUIET, QUIET], 7, 100.5, "horizon"),
        ([QUIET, QUIET, None, None, (90, 91, 89, 90)], 4, 90.0, "stop"),
    ],
    ids=[
        "target", "stop", "both in one bar", "both in a later bar", "gap through the stop", "gap above the target",
        "at the stop", "horizon", "target on the last day", "end of data", "sessions are counted, not days",
        "gap after days without trade",
    ],
)  # fmt: skip
def test_a_trade_by_hand(bars: list[Bar | None], day: int, price: float, reason: str) -> None:
    """Wished at the close of day 0, bought at the open of day 1 for half of 1,000, one thousandth lost each way."""
    rest: list[Bar | None] = [] if reason == "end" else [QUIET]
    where = market([*bars, *rest], [QUIET] * (len(bars) + len(rest)))
    course = traded(where, {0: [wish()]})
    (trade,) = course.trades
    quantity = 500.0 / 100.1
    assert (trade.decided_on, trade.entry_date, trade.exit_date) == (0, DAY, day * DAY)
    assert (trade.entry_price, trade.exit_reason) == (100.0, reason)
    assert trade.exit_price == pytest.approx(price, rel=1e-12)
    assert trade.quantity == pytest.approx(quantity, rel=1e-12)
    assert trade.costs == pytest.approx(quantity * (100.0 + price) * 0.001, rel=1e-12)
    assert trade.pnl == pytest.approx(quantity * (price - 100.0) - trade.costs, rel=1e-12)
    assert trade.pnl_pct == pytest.approx((price - 100.0) / 100.0 - (100.0 + price) / 100.0 * 0.001, rel=1e-9)
    assert course.cash[-1] == pytest.approx(1_000.0 + trade.pnl, rel=1e-12)
    assert course.equity[0] == 1_000.0
    if day > 1:
        assert course.equity[1] == pytest.approx(500.0 + quantity * 100.5, rel=1e-12)
        assert course.positions[1] == 1


def test_nothing_is_bought_at_the_close_that_decided() -> None:
    """Nor on the last day, after which there is no open."""
    bars: list[Bar] = [(10, 10, 10, 10), (200, 201, 199, 200), (200, 201, 199, 200)]
    course = traded(market(bars), {0: [wish()]})
    assert course.trades[0].entry_price == 200.0
    assert course.cash.tolist()[0] == 1_000.0
    last = traded(market(bars), {2: [wish()]})
    assert (last.trades, last.not_taken["no_session"]) == ((), 1)


def test_a_ticker_that_is_held_is_not_bought_again() -> None:
    """Until it was sold; at whose close it may be wished anew."""
    sold: Bar = (100, 101, 96, 98)
    course = traded(market([QUIET, QUIET, sold, QUIET, QUIET]), {day: [wish()] for day in range(3)})
    assert [trade.entry_date // DAY for trade in course.trades] == [1, 3]
    assert course.not_taken["held"] == 1


def test_the_best_are_bought_while_there_are_slots_and_cash() -> None:
    """No more positions than allowed, and never money that is not there."""
    where = market(*[[QUIET] * 4] * 4)
    course = traded(where, {0: [wish(column, 0.9 - column / 10) for column in (2, 0, 3, 1)]})
    assert [trade.ticker for trade in course.trades] == ["T0", "T2"]
    assert course.not_taken == {"held": 0, "no_slot": 1, "no_cash": 1, "no_session": 0}
    assert course.cash[1] == 0.0
    full = Terms(capital=1_000.0, position_size=0.4, max_positions=3, cost=0.0, rebound=0.03, stop=0.03, horizon=5)
    thirds = traded(where, {0: [wish(column) for column in range(3)]}, full)
    assert [round(trade.quantity * 100.0, 9) for trade in thirds.trades] == [400.0, 400.0, 200.0]


def test_money_that_an_open_sets_free_buys_at_that_open() -> None:
    """What gapped out leaves first; what is sold later in the session pays for nothing before."""
    gone: Bar = (110, 111, 109, 110)
    later: Bar = (100, 104, 99, 103)
    whole = Terms(capital=1_000.0, position_size=1.0, max_positions=2, cost=0.0, rebound=0.03, stop=0.03, horizon=5)
    for bar, bought in ((gone, True), (later, False)):
        course = traded(market([QUIET, QUIET, bar, QUIET], [QUIET] * 4), {0: [wish(0)], 1: [wish(1)]}, whole)
        assert (len(course.trades) == 2) is bought
        assert course.cash.min() >= 0.0


def test_an_order_waits_for_its_ticker_but_not_for_ever() -> None:
    """Ten days at most, as nothing looks across a longer break."""
    bars: list[Bar | None] = [QUIET, None, QUIET, QUIET]
    other: list[Bar] = [QUIET] * 4
    for days, trades in (([0, 5, 10, 11], 1), ([0, 5, 11, 12], 0)):
        course = traded(market(bars, other, times=days), {0: [wish()]})
        assert len(course.trades) == trades
        assert course.not_taken["no_session"] == 1 - trades


def test_a_ticker_that_trades_no_more_stands_at_its_last_close() -> None:
    """It is held to the end, and is in the figures."""
    course = traded(market([QUIET, QUIET, None, None], [QUIET] * 4), {0: [wish()]})
    assert course.trades[0].exit_reason == "end"
    assert course.trades[0].exit_price == 100.5
    assert course.positions.tolist() == [0, 1, 1, 0]


def slow(
    bars: list[dict[int, Bar]], days: int, wishes: dict[int, list[Wish]], terms: Terms
) -> tuple[list[Any], list[float]]:
    """The same rules, told by events of each position alone: its whole fate is looked up when it is bought."""
    cash = terms.capital
    equity: list[float] = []
    trades: list[Any] = []
    orders: list[tuple[int, Wish, float]] = []
    held: list[dict[str, Any]] = []
    for day in range(days):
        for one in [each for each in held if each["out"][0] == day and each["out"][3]]:
            cash += one["n"] * one["out"][1] * (1 - terms.cost)
            held.remove(one)
        kept = []
        for decided, order, money in orders:
            if day - decided > 10:
                continue
            if day not in bars[order.column]:
                kept.append((decided, order, money))
                continue
            paid = min(money, cash)
            if paid < money / 10:
                continue
            cash -= paid
            price = bars[order.column][day][0]
            held.append(
                {
                    "c": order.column,
                    "n": paid / price / (1 + terms.cost),
                    "out": fate(bars[order.column], day, days, terms),
                }
            )
            trades.append((order.column, decided, day, price, held[-1]["n"], *held[-1]["out"][:3]))
        orders = kept
        for one in [each for each in held if each["out"][0] == day]:
            cash += one["n"] * one["out"][1] * (1 - terms.cost)
            held.remove(one)
        worth = [one["n"] * bars[one["c"]][max(at for at in bars[one["c"]] if at <= day)][3] for one in held]
        equity.append(cash + sum(worth))
        for each in wishes.get(day, []):
            busy = {one["c"] for one in held} | {order.column for _, order, _ in orders}
            if each.column not in busy and len(busy) < terms.max_positions:
                orders.append((day, each, terms.position_size * equity[-1]))
    return sorted(trades, key=lambda trade: (trade[2], trade[0])), equity


def fate(bars: dict[int, Bar], bought: int, days: int, terms: Terms) -> tuple[int, float, str, bool]:
    """Day, price and reason of the sale, and whether it is at the open."""
    low, high = bars[bought][0] * (1 - terms.stop), bars[bought][0] * (1 + terms.rebound)
    sessions = [day for day in sorted(bars) if day >= bought][: terms.horizon]
    for day in sessions:
        opened, top, bottom, _ = bars[day]
        if day > bought and (opened <= low or opened >= high):
            return day, opened, "stop" if opened <= low else "target", True
        if bottom <= low:
            return day, low, "stop", False
        if top >= high:
            return day, high, "target", False
    if len(sessions) == terms.horizon:
        return sessions[-1], bars[sessions[-1]][3], "horizon", False
    return days - 1, bars[sessions[-1]][3], "end", False


@pytest.mark.parametrize("seed", range(12))
def test_a_slow_twin_agrees(seed: int) -> None:
    """Equity and trades to 1e-9, on random walks with gaps and holes; and the books balance every day."""
    rng = np.random.default_rng(seed)
    days, tickers = 120, 6
    walk = np.exp(np.cumsum(rng.normal(0, 0.015, (days, tickers)), axis=0)) * 50
    bars: list[dict[int, Bar]] = [{} for _ in range(tickers)]
    for day in range(days):
        for column in np.flatnonzero(rng.random(tickers) < 0.93):
            if column == 0 and day > 70:  # trades no more
                continue
            close = float(walk[day, column])
            opened = close * float(np.exp(rng.normal(0, 0.012)))
            high, low = (
                max(opened, close) * (1 + rng.exponential(0.01)),
                min(opened, close) * (1 - rng.exponential(0.01)),
            )
            bars[column][day] = (opened, float(high), float(low), close)
    wishes = {
        day: [
            Wish(int(column), float(rng.random()), 0)
            for column in rng.permutation(tickers)[: rng.integers(0, 4)]
            if day in bars[column]
        ]
        for day in range(days)
    }
    terms = Terms(
        capital=1e5, position_size=float(rng.uniform(0.05, 1)), max_positions=int(rng.integers(1, 6)),
        cost=float(rng.uniform(0, 0.002)), rebound=0.03, stop=0.02, horizon=int(rng.integers(1, 7)),
    )  # fmt: skip
    where = market(*[[each.get(day) for day in range(days)] for each in bars])
    course = traded(where, wishes, terms)
    expected, equity = slow(bars, days, wishes, terms)
    found = [
        (int(trade.ticker[1:]), trade.decided_on // DAY, trade.entry_date // DAY, trade.entry_price, trade.quantity,
         trade.exit_date // DAY, trade.exit_price, trade.exit_reason)
        for trade in course.trades
    ]  # fmt: skip
    assert len(found) == len(expected) > 10
    for ours, theirs in zip(found, expected, strict=True):
        assert [*ours[:3], ours[5], ours[7]] == [*theirs[:3], theirs[5], theirs[7]]
        np.testing.assert_allclose([ours[3], ours[4], ours[6]], [theirs[3], theirs[4], theirs[6]], rtol=1e-9)
    np.testing.assert_allclose(course.equity, equity, rtol=1e-9)
    assert course.cash.min() >= 0.0
    assert course.positions.max() <= terms.max_positions
    assert sum(trade.pnl for trade in course.trades) == pytest.approx(course.equity[-1] - terms.capital, abs=1e-6)
    assert course.cash[-1] == course.equity[-1]


def test_equity_is_cash_and_what_is_held_at_each_close() -> None:
    """Told again from the trades alone."""
    rng = np.random.default_rng(5)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 60)))
    bars: list[Bar] = [(c * 1.001, c * 1.01, c * 0.99, c) for c in closes]
    where = market(bars, bars[::-1])
    course = traded(where, {day: [wish(day % 2)] for day in range(0, 60, 3)})
    for day in range(60):
        cash, worth = 1_000.0, 0.0
        for trade in course.trades:
            column = where.tickers.index(trade.ticker)
            if trade.entry_date <= day * DAY:
                cash -= trade.quantity * trade.entry_price * 1.001
                worth += trade.quantity * where.close[day, column]
            if trade.exit_date <= day * DAY:
                cash += trade.quantity * trade.exit_price * 0.999
                worth -= trade.quantity * where.close[day, column]
        assert course.cash[day] == pytest.approx(cash, rel=1e-9)
        assert course.equity[day] == pytest.approx(cash + worth, rel=1e-9)


def test_performance_by_hand() -> None:
    """A year in which 100 became 110 over 120 and 90."""
    time = np.array([0, 100, 200, 364]) * DAY
    found = Performance.of(time, np.array([100.0, 120.0, 90.0, 110.0]), 100.0)
    assert found.total_return == pytest.approx(0.1)
    assert found.cagr == pytest.approx(1.1 ** (365.25 / 365) - 1)
    assert found.max_drawdown == pytest.approx(0.25)
    returns = np.array([0.0, 0.2, -0.25, 110 / 90 - 1])
    yearly = (4 / (365 / 365.25)) ** 0.5
    assert found.volatility == pytest.approx(returns.std(ddof=1) * yearly)
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * yearly)
    short = Performance.of(time[:1], np.array([100.0]), 100.0)
    assert short == Performance(0.0, None, None, None, 0.0)
    assert drawdown(np.array([90.0, 120.0, 60.0]), 100.0).tolist() == pytest.approx([-0.1, 0.0, -0.5])


def test_buy_and_hold_by_hand() -> None:
    """Half of it waits for the ticker that comes later; the one that ends stands at its last close."""
    where = market([QUIET, (100, 120, 90, 110), None], [None, (50, 51, 49, 50), (50, 60, 50, 55)])
    held = buy_and_hold(where, 1_000.0, 0.001)
    shares = 500.0 / 100.1, 500.0 / 50.05
    expected = [500.0 + shares[0] * 100.5, shares[0] * 110 + shares[1] * 50, shares[0] * 110 + shares[1] * 55]
    assert held.tolist() == pytest.approx(expected, rel=1e-12)
