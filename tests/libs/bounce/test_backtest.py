"""The backtest: told again by a plain reading of its rules, and caught where it looks ahead."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.libs.models.test_bounce import rows as dip_rows
from tests.tickers import stock
from tidewheel.bounce.backtest import Backtest, BacktestTerms, _Signals, backtest
from tidewheel.bounce.backtesting import backtest_of, in_child
from tidewheel.bounce.gathering import Gathered, Told, Volatility
from tidewheel.bounce.market import DailyBars
from tidewheel.bounce.performance import Performance
from tidewheel.bounce.portfolio import Market, Portfolio, Wish
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, parse_time
from tidewheel.features.bounce import UNKNOWN, dips
from tidewheel.features.frames import CandleFrame
from tidewheel.features.volatility import Squares, percentile
from tidewheel.ledger.open import Ledger
from tidewheel.market.sim.dips import TICKERS, dips_market
from tidewheel.models.bounce import BounceModel, DipRows

Bars = dict[str, CandleFrame]
MARKET: Bars = dict(sorted(dips_market([*TICKERS, "A", "B", "C", "D", "E"], sessions=700).frames.items()))
CONFIG = BounceHunterConfig.of(MARKET, bcs_threshold=0.5, bcs_threshold_highvix=0.55)
START, END = parse_time("2015-01-12T00:00Z"), parse_time("2015-07-17T00:00Z")
TERMS = BacktestTerms(start=START, end=END, position_size=0.4)


def rows_of(bars: Bars, config: BounceHunterConfig = CONFIG) -> DipRows:
    """As a fit gathers them."""
    told = {
        ticker: Told(
            dips=dips(frame, config), squares=Squares.of(frame), until=int(frame.open_time[-1]) + DAY,
            origin=Origin.SYNTHETIC,
        )
        for ticker, frame in bars.items()
    }  # fmt: skip
    gathered = Gathered.of(told, {})
    return gathered.rows(Volatility(*percentile(*gathered.squares.realised())))


def run(bars: Bars, terms: BacktestTerms = TERMS) -> Backtest:
    return backtest(bars, rows_of(bars), CONFIG, terms)


@pytest.fixture(scope="module")
def done() -> Backtest:
    """The whole of it, once."""
    return run(MARKET)


def promises_broken(done: Backtest, bars: Bars, rows: DipRows) -> set[str]:
    """What each trade must be, from the bars and the rows alone."""
    broken = set()
    models: dict[int, BounceModel] = {}
    for trade in done.course.trades:
        time, opened = bars[trade.ticker].open_time, bars[trade.ticker].open
        decided, bought = np.searchsorted(time, [trade.decided_on, trade.entry_date])
        if (bought, trade.entry_price) != (decided + 1, opened[decided + 1]):
            broken.add("bought at another price than the next open")
        if trade.model_known_at > trade.decided_on + DAY:
            broken.add("decided by a model that knew later ends")
        month = done.time.astype("datetime64[ms]").astype("datetime64[M]")
        first = int(done.time[np.searchsorted(month, np.datetime64(trade.decided_on, "ms").astype("datetime64[M]"))])
        if first not in models:
            known = (rows.label != UNKNOWN) & (rows.known_at <= first + DAY)
            models[first] = BounceModel.fit(rows.take(known), fewest=CONFIG.min_event_samples)
        place = list(bars).index(trade.ticker)
        row = rows.take((rows.time == trade.decided_on) & (rows.ticker == place))
        if len(row) != 1 or models[first].probability(row.features)[0] != trade.probability:
            broken.add("rated otherwise than by the ends known when the month began")
        elif row.features[0, 3] <= CONFIG.max_dist_200dma or trade.probability < CONFIG.threshold(row.features[0, 6]):
            broken.add("no signal")
    return broken


def test_every_trade_is_as_promised(done: Backtest) -> None:
    """And there are so many that it means something."""
    assert len(done.course.trades) >= 12
    assert {trade.exit_reason for trade in done.course.trades} >= {"stop", "target"}
    assert promises_broken(done, MARKET, rows_of(MARKET)) == set()


def test_every_signal_is_bought_or_counted(done: Backtest) -> None:
    """The dips of the time are found again by hand, and none is lost."""
    rows, figures = rows_of(MARKET), done.metrics
    assert figures.dips == int(((rows.time >= START) & (rows.time <= END)).sum()) > 20
    assert figures.dips_without_model == 0
    assert figures.signals == figures.trades + sum(figures.signals_not_taken.values())


def test_a_day_s_signals_are_the_likely_ones_in_an_upward_market_the_best_first() -> None:
    """Told again from the rows of many days with several dips each."""
    rows = dip_rows(900)
    time = np.unique(rows.time)
    signals = _Signals(rows, CONFIG, time)
    months = time.astype("datetime64[ms]").astype("datetime64[M]")
    models: dict[int, BounceModel] = {}
    several = 0
    for day in range(120, 180):
        first = int(np.flatnonzero(months == months[day])[0])
        if first not in models:
            models[first] = BounceModel.fit(rows.known(int(time[first]) + DAY), fewest=CONFIG.min_event_samples)
        model = models[first]
        expected = []
        for one in range(len(rows)):
            row = rows.take(slice(one, one + 1))
            if row.time[0] == time[day] and row.features[0, 3] > -0.12:
                chance = float(model.probability(row.features)[0])
                if chance >= (0.55 if row.features[0, 6] >= 0.8 else 0.5):
                    expected.append((-chance, int(row.ticker[0])))
        found = signals.of(day)
        assert [(wish.probability, wish.column) for wish in found] == [
            (-less, column) for less, column in sorted(expected)
        ]
        assert all(wish.known_at == model.known_at for wish in found)
        several += len(expected) > 1
    assert several > 10


def bought_at_once(self: Portfolio, day: int, wishes: list[Wish], equity: float) -> None:
    """A leak: filled at the very close that decided."""
    for wish in wishes:
        self._orders.append(_order(wish, day, self.terms.position_size * equity))
    self.market.open[day] = self.market.close[day]
    self._buy(day)


def _order(*parts: Any) -> Any:
    from tidewheel.bounce.portfolio import _Order

    return _Order(*parts)


def test_a_fill_at_the_close_that_decided_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the audit of the trades."""
    monkeypatch.setattr(Portfolio, "_wish", bought_at_once)
    assert "bought at another price than the next open" in promises_broken(run(MARKET), MARKET, rows_of(MARKET))


def test_a_model_that_knows_later_ends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time that its newest label was known, and by what it says."""
    rows = rows_of(MARKET)
    whole = DipRows.known
    monkeypatch.setattr(DipRows, "known", lambda self, when=None: whole(self))
    assert promises_broken(backtest(MARKET, rows, CONFIG, TERMS), MARKET, rows) >= {
        "decided by a model that knew later ends",
        "rated otherwise than by the ends known when the month began",
    }


def survivors(bars: Bars, start: int, end: int) -> Market:
    """A leak: who does not trade on the last day was never there."""
    market = whole_market(bars, start, end)
    for column in (market.open, market.high, market.low, market.close):
        column[:, np.isnan(market.close[-1])] = np.nan
    return market


whole_market = Market.of


def test_a_ticker_that_trades_no_more_was_traded_while_it_did(done: Backtest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trades are the same as if it had gone on; a universe of survivors is caught."""
    ticker = max(MARKET, key=lambda name: sum(trade.ticker == name for trade in done.course.trades))
    gone = int(np.searchsorted(MARKET[ticker].open_time, parse_time("2015-05-20T00:00Z")))
    bars = {**MARKET, ticker: MARKET[ticker].take(slice(0, gone))}
    last = int(bars[ticker].open_time[-1])

    def before(found: Backtest) -> list[Any]:
        return [trade for trade in found.course.trades if trade.exit_date <= last]

    assert sum(trade.ticker == ticker for trade in before(done)) >= 2
    assert [trade.ticker for trade in before(run(bars))] == [trade.ticker for trade in before(done)]
    monkeypatch.setattr(Market, "of", staticmethod(survivors))
    assert all(trade.ticker != ticker for trade in run(bars).course.trades)


def changed_after(frame: CandleFrame, time: int) -> CandleFrame:
    """Another future, from `time` on."""
    later = frame.open_time >= time
    scale = np.where(later, 1.0 + 0.2 * np.sin(np.arange(len(frame))), 1.0)
    return replace(
        frame, open=frame.open * scale, high=frame.high * scale, low=frame.low * scale, close=frame.close * scale
    )


def test_the_future_changes_nothing_before(done: Backtest) -> None:
    """To the bit: equity up to the day, and every trade that was over by then."""
    day = parse_time("2015-05-20T00:00Z")
    other = run({ticker: changed_after(frame, day) for ticker, frame in MARKET.items()})
    upto = int(np.searchsorted(done.time, day))
    assert done.course.equity[:upto].tobytes() == other.course.equity[:upto].tobytes()
    assert done.course.equity[upto:].tobytes() != other.course.equity[upto:].tobytes()
    over = [[trade for trade in found.course.trades if trade.exit_date < day] for found in (done, other)]
    assert over[0] == over[1]
    assert len(over[0]) > 5


def test_bars_that_come_later_change_no_trade(done: Backtest) -> None:
    """Neither within the same time, nor those before in a longer one."""
    cut = {ticker: frame.between(None, END + DAY) for ticker, frame in MARKET.items()}
    assert run(cut).to_json() == done.to_json()
    longer = run(MARKET, replace(TERMS, end=END + 60 * DAY))
    ended = [trade for trade in done.course.trades if trade.exit_reason != "end"]
    assert [trade for trade in longer.course.trades if trade.exit_date <= END][: len(ended)] == ended
    assert longer.course.equity[: len(done.time) - 1].tobytes() == done.course.equity[:-1].tobytes()


def test_before_a_model_can_be_fitted_dips_are_counted_and_not_bought() -> None:
    """The first year has too few ends."""
    early = BacktestTerms(start=int(MARKET["AAPL"].open_time[0]), end=parse_time("2014-03-31T00:00Z"))
    figures = run(MARKET, early).metrics
    assert figures.dips == figures.dips_without_model > 5
    assert (figures.trades, figures.hit_rate, figures.mean_trade, figures.turnover) == (0, None, None, 0.0)
    assert figures.strategy == Performance(0.0, 0.0, None, None, 0.0)


def test_figures_follow_from_trades_and_equity(done: Backtest) -> None:
    """Each told again."""
    figures, course = done.metrics, done.course
    assert sum(trade.pnl for trade in course.trades) == pytest.approx(course.equity[-1] - TERMS.capital, abs=1e-6)
    assert figures.hit_rate == pytest.approx(sum(trade.pnl > 0 for trade in course.trades) / len(course.trades))
    assert figures.mean_trade == pytest.approx(np.mean([trade.pnl_pct for trade in course.trades]))
    assert figures.costs == pytest.approx(sum(trade.costs for trade in course.trades))
    assert figures.exposure == pytest.approx(np.mean(1 - course.cash / course.equity))
    moved = sum(trade.quantity * (trade.entry_price + trade.exit_price) for trade in course.trades)
    years = (done.time[-1] + DAY - done.time[0]) / DAY / 365.25
    assert figures.turnover == pytest.approx(moved / course.equity.mean() / years)
    closes = np.array([frame.between(START, END + 1).close for frame in MARKET.values()])
    opens = np.array([frame.between(START, END + 1).open[0] for frame in MARKET.values()])
    held = TERMS.capital * (closes / opens[:, None]).mean(axis=0) / 1.0006
    np.testing.assert_allclose(done.benchmark, held, rtol=1e-12)


def test_costs_cost_and_free_trading_is_free(done: Backtest) -> None:
    """The same trades at other costs."""
    free = run(MARKET, replace(TERMS, fee_bps=0.0, slippage_bps=0.0))
    assert free.metrics.costs == 0.0
    assert free.course.equity[-1] > done.course.equity[-1]
    assert done.metrics.costs == pytest.approx(
        sum(trade.quantity * (trade.entry_price + trade.exit_price) for trade in done.course.trades) * 6e-4
    )


def test_a_ledger_s_tickers_are_traded_in_a_child(ledger: Ledger, done: Backtest) -> None:
    """To the bit as in this process, with what was known at the end; who cannot be traded is named.

    That a ticker's prices jump as after a split later on is none of the backtest's business.
    """
    young, later = MARKET["A"].between(END - 100 * DAY, None), MARKET["B"].open_time > END + 5 * DAY
    halved = {name: getattr(MARKET["B"], name) * np.where(later, 0.5, 1.0) for name in ("open", "high", "low", "close")}
    assert later.any()
    stock(ledger, {**MARKET, "B": replace(MARKET["B"], **halved), "NEW": young})
    found = backtest_of(DailyBars(ledger), CONFIG.with_tickers([*MARKET, "NEW"]), TERMS)
    assert found.document == json.loads(json.dumps(done.to_json()))
    assert found.tickers == tuple(MARKET)
    assert list(found.left_out) == ["NEW"]
    assert found.left_out["NEW"].startswith("not_enough_data: NEW has ")
    assert (found.origin, found.volatility_source) == (Origin.SYNTHETIC, "universe")


def test_the_child_s_refusals_are_told() -> None:
    """A time without sessions, and one of its limits."""
    rows = rows_of(MARKET)
    with pytest.raises(
        BadInput, match="no ticker has a session from 1999-01-01 to 1999-02-01; their bars reach"
    ) as none:
        in_child(MARKET, rows, CONFIG, BacktestTerms(start=parse_time("1999-01-01"), end=parse_time("1999-02-01")))
    assert none.value.code == "no_sessions"
    with pytest.raises(BadInput, match=r"of 10 tickers .*; ask for fewer of them, or for a shorter time") as refused:
        in_child(MARKET, rows, CONFIG, TERMS, memory_bytes=100 * 1024 * 1024)
    assert refused.value.code == "backtest_too_large"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": END, "end": START}, "start 2015-07-17 lies after end 2015-01-12; exchange them"),
        ({"capital": 0.0}, "capital = 0.0 is not within"),
        ({"capital": float("nan")}, "capital = nan is not within"),
        ({"position_size": 1.5}, "position_size = 1.5 is not within 1e-06 and 1"),
        ({"fee_bps": -1.0}, "fee_bps = -1.0 is not within 0 and 1000"),
        ({"slippage_bps": float("inf")}, "slippage_bps = inf is not within"),
        ({"max_positions": 0}, "max_positions = 0 is not within 1 and 1000"),
        ({"max_positions": 1.5}, "max_positions = 1.5 is not a whole number"),
    ],
)
def test_terms_that_cannot_be_meant(change: dict[str, Any], said: str) -> None:
    """Each is named with its value."""
    with pytest.raises(BadInput, match=said):
        replace(TERMS, **change)


def points(drawn: ElementTree.Element) -> Iterator[tuple[float, float]]:
    for path in drawn.iter("{http://www.w3.org/2000/svg}path"):
        for point in path.attrib["d"][1:].split("L"):
            x, y = map(float, point.split())
            yield x, y


def test_the_picture_shows_both_and_stays_in_its_frame(done: Backtest) -> None:
    """Well-formed, with words for those who cannot see it; of one day as of years."""
    first = MARKET["AAPL"].between(START, None)
    for found in (done, run(MARKET, replace(TERMS, end=int(first.open_time[0])))):
        drawn = ElementTree.fromstring(found.to_json()["picture"])
        assert "buy and hold" in drawn.attrib["aria-label"]
        assert len(list(points(drawn))) >= 4 * len(found.time)
        assert all(0 <= x <= 760 and 0 <= y <= 460 for x, y in points(drawn))
        words = [text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
        assert any(word.endswith(" %") for word in words)
        if found is done:
            assert {"2015-03", "2015-07"} <= set(words)
