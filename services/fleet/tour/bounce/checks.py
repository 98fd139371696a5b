"""What the tour holds answers to: its own market tells which dips there were, and what each came to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.fleet.tour.bounce.market import HORIZON, MARGIN, Truth
from services.fleet.tour.checks import Checks
from tidewheel.contracts.times import DAY, iso, parse_time
from tidewheel.features.frames import CandleFrame

KEYS = {"scan_timestamp", "total_tickers_scanned", "signals_found", "signals", "statistics", "cache_info"}
SIGNAL_KEYS = {
    "ticker", "signal_date", "probability", "z_score", "rsi2", "bb_deviation", "distance_200ma", "trend_63d",
    "gap_down", "vix_regime", "entry_price", "target_price", "stop_price",
}  # fmt: skip


def hold_signals(
    checks: Checks, truth: Truth, what: str, told: Mapping[str, Any], tickers: Sequence[str], ahead: int = 0
) -> None:
    """Each signal is a dip of that very session, with the prices that follow from its close."""
    checks.that(f"{what}: the documented keys", told.keys() >= KEYS, sorted(told))
    checks.that(f"{what}: signals are counted", told["signals_found"] == len(told["signals"]), told)
    checks.that(f"{what}: of the newest session", told["session"] == truth.day(ahead), told["session"])
    checks.that(f"{what}: the bars are told to be made", told["origin"] == "synthetic", told["origin"])
    signals = {each["ticker"]: each for each in told["signals"]}
    dipped, threshold = truth.dipped(tickers, ahead), told["volatility"]["threshold"]
    checks.that(f"{what}: signals only of what dipped", signals.keys() <= dipped.keys(), (told["signals"], dipped))
    for ticker, each in signals.items():
        close = float(truth.market.frames[ticker].close[truth.today + ahead])
        expected = (close, close * (1 + MARGIN), close * (1 - MARGIN))
        seen = (each["entry_price"], each["target_price"], each["stop_price"])
        near = all(abs(one / other - 1) < 1e-6 for one, other in zip(seen, expected, strict=True))
        checks.that(f"{what}: the documented keys of a signal", each.keys() >= SIGNAL_KEYS, sorted(each))
        checks.that(f"{what}: the prices of {ticker} follow from its close", near, (seen, expected))
        checks.that(f"{what}: {ticker} reaches the threshold", each["probability"] >= threshold, (each, threshold))
        checks.that(f"{what}: {ticker} had dipped", each["z_score"] <= -1.5 and each["rsi2"] <= 10, each)


def hold_model(checks: Checks, what: str, info: Mapping[str, Any], known: int) -> None:
    """The model learnt from every dip that had ended."""
    checks.that(f"{what}: it learnt from every dip that had ended", info["training_samples"] == known, (info, known))


def hold_skill(checks: Checks, what: str, metrics: Mapping[str, Any]) -> None:
    """Forward, the edge shows that was put there; of few dips chance alone might hide it."""
    better = metrics["auc"] > 0.6 and metrics["brier"] < metrics["brier_of_base_rate"]
    checks.that(f"{what}: forward, it ranks dips better than chance", better, metrics)


def hold_equal(
    checks: Checks, what: str, one: Mapping[str, Any], other: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Two answers tell the same of each of `names`."""
    for name in names:
        checks.that(f"{what}: the same {name}", one[name] == other[name], (one[name], other[name]))


def hold_backtest(checks: Checks, truth: Truth, told: Mapping[str, Any], capital: float) -> None:
    """Each trade follows from a dip, at the next open, by a model of before; the money adds up; the edge is found."""
    trades, metrics = told["trades"], told["metrics"]
    checks.that("backtest: signals were traded", len(trades) == metrics["trades"] > 10, metrics)
    for trade in trades:
        frame, chance = truth.market.frames[trade["ticker"]], truth.market.chance[trade["ticker"]]
        at = int(np.searchsorted(frame.open_time, parse_time(trade["decided_on"])))
        where = f"backtest: {trade['ticker']} of {trade['decided_on']}"
        checks.that(f"{where} had dipped", not np.isnan(chance[at]), trade)
        checks.that(f"{where} is bought in the next session", trade["entry_date"] == _date(frame, at + 1), trade)
        checks.that(f"{where} is bought at its open", trade["entry_price"] == float(frame.open[at + 1]), trade)
        known = parse_time(trade["model_known_at"]) <= int(frame.open_time[at]) + DAY
        checks.that(f"{where} was rated by a model of before", known, trade)
        out = int(np.searchsorted(frame.open_time, parse_time(trade["exit_date"])))
        within = frame.low[out] <= trade["exit_price"] <= frame.high[out] and at < out <= at + HORIZON
        checks.that(f"{where} is sold within five sessions, at a price of that day", within, trade)
        gained = trade["quantity"] * (trade["exit_price"] - trade["entry_price"]) - trade["costs"]
        checks.that(f"{where} gained what it says", abs(gained - trade["pnl"]) < 1e-6, (gained, trade))
    made = capital + sum(trade["pnl"] for trade in trades)
    last = told["equity"][-1]["equity"]
    checks.that("backtest: the trades add up to the equity", abs(made / last - 1) < 1e-9, (made, last))
    checks.that("backtest: the edge that was put there is found", (metrics["mean_trade"] or 0.0) > 0, metrics)
    checks.that("backtest: there is a picture", told["picture"].lstrip().startswith("<svg"), told["picture"][:80])


def _date(frame: CandleFrame, at: int) -> str:
    return iso(int(frame.open_time[at]))[:10]
