"""What the tour of BounceHunter holds the fleet to, and that it would see the fleet break it."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.fleet.display import Lines
from services.fleet.tour.bounce.checks import hold_backtest, hold_equal, hold_model, hold_signals, hold_skill
from services.fleet.tour.bounce.market import COIN, FIRST, LIKELY, Truth, truth, unusable, write_coin
from services.fleet.tour.checks import Checks
from tidewheel.bounce.gathering import Gathered, Told, Volatility, why_unusable
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, iso
from tidewheel.features.bounce import UNKNOWN, dips
from tidewheel.features.volatility import Squares, percentile
from tidewheel.market.sim.dips import TICKERS
from tidewheel.market.sim.replay import replayed
from tidewheel.models.bounce import BounceModel

CONFIG = BounceHunterConfig.of(TICKERS)


@cache
def made() -> Truth:
    return truth(1)


@cache
def right() -> dict[str, Any]:
    """An answer that is true of the session at which the story begins."""
    signals = []
    for ticker, chance in made().dipped(FIRST).items():
        close = float(made().market.frames[ticker].close[made().today])
        if chance >= LIKELY:
            signals.append({
                "ticker": ticker, "signal_date": made().day(), "probability": chance, "z_score": -2.0, "rsi2": 4.0,
                "bb_deviation": 0.0, "distance_200ma": 0.0, "trend_63d": 0.0, "gap_down": 0.0, "vix_regime": "normal",
                "entry_price": close, "target_price": close * 1.03, "stop_price": close * 0.97,
            })  # fmt: skip
    assert signals
    return {
        "scan_timestamp": 1, "total_tickers_scanned": 3, "signals_found": len(signals), "signals": signals,
        "statistics": {}, "cache_info": {}, "session": made().day(), "origin": "synthetic",
        "volatility": {"threshold": 0.62},
    }  # fmt: skip


def held(told: dict[str, Any]) -> list[str]:
    checks = Checks(Lines())
    hold_signals(checks, made(), "x", told, FIRST)
    assert checks.made >= 5
    return checks.violations


def changed(**values: Any) -> Callable[[dict[str, Any]], None]:
    """The first signal with other values."""
    return lambda told: told["signals"][0].update(values)


def test_the_story_begins_where_a_signal_is_due() -> None:
    """And what the tour knows of dips is what the product's own features and labels find."""
    ends = made().until()
    assert any(chance >= LIKELY for chance in made().dipped(FIRST).values())
    assert any(chance >= LIKELY for chance in made().dipped(FIRST, made().passing).values())
    for ahead in (0, made().passing):
        found = {ticker: dips(frame, CONFIG) for ticker, frame in made().until(ahead).items()}
        assert made().known(TICKERS, ahead) == sum(int((each.label != UNKNOWN).sum()) for each in found.values())
        newest = {ticker for ticker, each in found.items() if each.time[-1] == made().open_time(ahead)}
        assert newest == made().dipped(TICKERS, ahead).keys()
    assert all(frame.open_time[-1] == made().open_time() for frame in ends.values())


def test_the_story_shows_signals() -> None:
    """A model of what was known when it begins rates a dip of then, and one of the last session, high enough."""
    found = {
        ticker: Told(
            dips=dips(frame, CONFIG),
            squares=Squares.of(frame),
            until=made().open_time() + DAY,
            origin=Origin.SYNTHETIC,
        )
        for ticker, frame in made().until(made().passing).items()
        if ticker in FIRST
    }
    gathered = Gathered.of(found, {})
    rows = gathered.rows(Volatility(*percentile(*gathered.squares.realised())))
    model = BounceModel.fit(rows.known(made().open_time() + DAY), fewest=CONFIG.min_event_samples)
    for ahead in (0, made().passing):
        newest = rows.take(rows.time == made().open_time(ahead))
        chances = model.probability(newest.features[newest.features[:, 3] > CONFIG.max_dist_200dma])
        assert chances.max() >= CONFIG.bcs_threshold_highvix


def test_what_cannot_be_used_is_so_for_its_reason() -> None:
    """Each odd ticker of the story is refused by the product's own eyes, for that reason and no other."""
    for why, frame in unusable(made().until()["AMD"]).items():
        assert (why_unusable("ODD", frame.checked(), CONFIG) or "").startswith(why)
    assert why_unusable("AMD", made().until()["AMD"], CONFIG) is None


def test_a_right_answer_passes() -> None:
    assert held(right()) == []


@pytest.mark.parametrize(
    ("plant", "seen"),
    [
        (lambda told: told.pop("statistics"), "the documented keys"),
        (lambda told: told["signals"].clear(), "signals are counted"),
        (lambda told: told.update(session=made().day(-1)), "of the newest session"),
        (lambda told: told.update(origin="import"), "the bars are told to be made"),
        (changed(ticker="AAPL"), "signals only of what dipped"),
        (changed(entry_price=1.0), "follow from its close"),
        (changed(stop_price=1.0), "follow from its close"),
        (changed(probability=0.61), "reaches the threshold"),
        (changed(rsi2=11.0), "had dipped"),
        (lambda told: told["signals"][0].pop("gap_down"), "the documented keys of a signal"),
    ],
)
def test_a_wrong_answer_is_a_violation(plant: Callable[[dict[str, Any]], None], seen: str) -> None:
    """Each lie is found by the check that is there for it."""
    told = deepcopy(right())
    plant(told)
    assert any(seen in each for each in held(told))


@pytest.mark.parametrize(
    ("lie", "seen"),
    [({}, None), ({"training_samples": 99}, "learnt from every dip"), ({"auc": 0.5}, "ranks dips better"),
     ({"brier": 0.25}, "ranks dips better")],
)  # fmt: skip
def test_a_model_that_learnt_otherwise_is_a_violation(lie: dict[str, Any], seen: str | None) -> None:
    """A dip more or less, or no better than the base rate."""
    checks = Checks(Lines())
    metrics = {"auc": 0.7, "brier": 0.2, "brier_of_base_rate": 0.24}
    hold_model(checks, "x", {"training_samples": 100, "metrics": metrics | lie} | lie, 100)
    hold_skill(checks, "x", metrics | lie)
    hold_equal(checks, "x", {"signals": []}, {"signals": []}, ("signals",))
    assert len(checks.violations) == (seen is not None) and (seen or "") in "".join(checks.violations)
    hold_equal(checks, "x", {"signals": [1]}, {"signals": []}, ("signals",))
    assert "the same signals" in checks.violations[-1]


def traded() -> dict[str, Any]:
    """Every likely dip of the market's last days, bought at the next open and sold at that day's close."""
    trades: list[dict[str, Any]] = []
    for ticker, frame in made().market.frames.items():
        for at in np.flatnonzero(np.nan_to_num(made().market.chance[ticker][:-1]) >= LIKELY)[-5:].tolist():
            day, entry, out = (
                iso(int(frame.open_time[at + 1]))[:10],
                float(frame.open[at + 1]),
                float(frame.close[at + 1]),
            )
            trades.append({
                "ticker": ticker, "decided_on": iso(int(frame.open_time[at]))[:10], "entry_date": day, "exit_date": day,
                "entry_price": entry, "exit_price": out, "quantity": 2.0, "costs": 0.1, "pnl": 2 * (out - entry) - 0.1,
                "model_known_at": iso(int(frame.open_time[at])),
            })  # fmt: skip
    equity = 1_000.0 + sum(trade["pnl"] for trade in trades)
    metrics = {"trades": len(trades), "mean_trade": 0.01}
    return {"trades": trades, "metrics": metrics, "equity": [{"equity": equity}], "picture": "<svg></svg>"}


@pytest.mark.parametrize(
    ("lie", "seen"),
    [({}, None), ({"decided_on": "2020-01-01"}, "had dipped"), ({"entry_date": "2022-01-03"}, "in the next session"),
     ({"entry_price": 1.0}, "at its open"), ({"model_known_at": "2030-01-01"}, "a model of before"),
     ({"exit_price": 1.0}, "a price of that day"), ({"pnl": 5.0}, "gained what it says")],
)  # fmt: skip
def test_a_trade_that_could_not_be_is_a_violation(lie: dict[str, Any], seen: str | None) -> None:
    """Each of a trade's members is held against the bars."""
    told, checks = traded(), Checks(Lines())
    told["trades"][3].update(lie)
    hold_backtest(checks, made(), told, 1_000.0)
    assert bool(checks.violations) == (seen is not None) and (seen or "") in "".join(checks.violations)
    checks = Checks(Lines())
    hold_backtest(checks, made(), told | {"picture": "", "metrics": {"trades": 1, "mean_trade": None}}, 1_000.0)
    assert len([each for each in checks.violations if each.startswith("backtest: ")]) >= 3


def test_the_coin_is_replayed_as_it_was_written(tmp_path: Path) -> None:
    """On Sundays too."""
    path, frame = write_coin(tmp_path, 1, days=300)
    (series,) = replayed((str(path),)).series
    assert (series.symbol, series.timeframe, len(series.frame.segments())) == (COIN, "1d", 1)
    assert np.array_equal(series.frame.matrix(), frame.matrix())
