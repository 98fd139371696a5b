"""A universe is read whole or grows ticker by ticker; both give one model, to the byte."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.libs.bounce.universe import CONFIG, close_of, entry, fitted, frames, stocked
from tests.tickers import stock
from tidewheel.bounce.fitting import prepare
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY
from tidewheel.ledger.open import Ledger
from tidewheel.models.bounce import BounceModel

FIVE = CONFIG.with_tickers(frames())


def test_a_grown_entry_is_the_full_fit_to_the_byte(bars: DailyBars, tmp_path: Path) -> None:
    """Its metrics are measured anew on all rows, never the parent's; it names the parent, and keeps its age."""
    base = entry(bars, tmp_path / "grown")
    child = fitted(bars, tmp_path / "grown", FIVE, base=base)
    whole = fitted(bars, tmp_path / "whole", FIVE)
    assert child.model_hash == whole.model_hash
    assert child.metrics == whole.metrics != base.metadata.metrics
    assert (child.parent, whole.parent) == (base.metadata.config_hash, None)
    assert child.updated_at == base.metadata.updated_at
    assert child.tickers == tuple(sorted(frames()))
    one_more = CONFIG.with_tickers([*CONFIG.tickers, "AMD"])
    step = entry(bars, tmp_path / "steps", one_more, base=base)
    assert fitted(bars, tmp_path / "steps", FIVE, base=step).model_hash == whole.model_hash


def test_new_tickers_are_read_as_far_as_the_base_had_read(ledger: Ledger, tmp_path: Path) -> None:
    """Else the newest sessions would know the volatility of the new ones alone."""
    bars = stocked(ledger, until=close_of(-60))
    base = entry(bars, tmp_path)
    stock(ledger, {ticker: frame.between(close_of(-60), None) for ticker, frame in frames().items()})
    grown = prepare(bars, FIVE, base=base)
    whole = prepare(bars, replace(FIVE, as_of=base.metadata.data_as_of))
    assert np.array_equal(grown.rows.features, whole.rows.features)
    assert set(grown.gathered.until.values()) == {close_of(-60)}


def test_what_an_entry_cannot_grow_into_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """Fewer tickers, the same ones, another number, another volatility index, another release."""
    bars = stocked(ledger)
    base = entry(bars, tmp_path)
    stock(ledger, {"VIX": frames()["AMD"]})
    indexed = DailyBars(ledger, volatility_index=StreamKey("stocks", "VIX", "1d"))
    for wanted, told, where in (
        (CONFIG, "does not add", bars),
        (CONFIG.with_tickers(["AAPL", "AMD"]), "does not add", bars),
        (replace(FIVE, rebound_pct=0.04), "fit anew", bars),
        (FIVE, "fit anew", indexed),
    ):
        with pytest.raises(BadInput, match=told):
            prepare(where, wanted, base=base)
    elsewhere = replace(base, metadata=replace(base.metadata, config_hash="ab" * 32))
    with pytest.raises(BadInput, match="release, fit anew"):
        prepare(bars, FIVE, base=elsewhere)


def test_a_ticker_that_cannot_be_used_is_left_out_by_name(ledger: Ledger) -> None:
    """Split, no volume, constant, too short; the others are fitted, and nothing is guessed."""
    aapl = frames()["AAPL"]
    half = np.where(np.arange(len(aapl)) < 900, 1.0, 0.5)
    split = replace(
        aapl, open=aapl.open * half, high=aapl.high * half, low=aapl.low * half, close=aapl.close * half
    )  # fmt: skip
    flat = np.full(len(aapl), 100.0)
    bars = stocked(
        ledger,
        SPLIT=split,
        QUIET=replace(aapl, volume=np.zeros(len(aapl))),
        FLAT=replace(aapl, open=flat, high=flat, low=flat, close=flat),
        YOUNG=aapl.take(slice(-150, None)),
    )
    found = prepare(bars, CONFIG.with_tickers(["MSFT", "GOOGL", "AAPL", "SPLIT", "QUIET", "FLAT", "YOUNG"]))
    assert sorted(found.gathered.dips) == sorted(CONFIG.tickers)
    assert {ticker: why.split(":")[0] for ticker, why in found.gathered.left_out.items()} == {
        "SPLIT": "unadjusted_split",
        "QUIET": "no_volume",
        "FLAT": "constant_prices",
        "YOUNG": "not_enough_data",
    }
    assert "import 50 more" in found.gathered.left_out["YOUNG"]
    without = prepare(bars, CONFIG)
    assert np.array_equal(found.rows.features, without.rows.features)
    with pytest.raises(NotEnoughData, match=r"none of 2 tickers can be used: constant_prices: FLAT .*; no_volume"):
        prepare(bars, CONFIG.with_tickers(["FLAT", "QUIET"]))


def test_unknown_and_ambiguous_tickers_are_refused(ledger: Ledger) -> None:
    """With the command that imports the one, and the setting that settles the other."""
    bars = stocked(ledger)
    with pytest.raises(
        BadInput, match=r"NFLX, NVDA are .*tidewheel import NFLX\.csv --symbol NFLX --timeframe 1d"
    ) as no:
        prepare(bars, CONFIG.with_tickers(["NVDA", "AAPL", "NFLX"]))
    assert (no.value.code, no.value.extra["tickers"]) == ("unknown_ticker", ["NFLX", "NVDA"])
    with pytest.raises(BadInput, match=r"or fetch a coin's: tidewheel backfill EXCHANGE:BTC/USDT:1d --start DATE"):
        prepare(bars, CONFIG.with_tickers(["BTC/USDT"]))
    stock(ledger, {"AAPL": frames()["AMD"]}, exchange="elsewhere")
    with pytest.raises(BadInput, match=r"stocks:AAPL:1d.*BOUNCE_EXCHANGE") as two:
        prepare(bars, CONFIG)
    assert two.value.code == "ambiguous_ticker"
    elsewhere = prepare(DailyBars(ledger, exchange="elsewhere"), CONFIG.with_tickers(["AAPL"]))
    assert np.array_equal(elsewhere.rows.time, prepare(bars, CONFIG.with_tickers(["AMD"])).rows.time)


def test_too_few_dips_say_how_many_are_missing(bars: DailyBars) -> None:
    """And where to get them."""
    found = prepare(bars, replace(CONFIG, min_event_samples=5_000))
    missing = 5_000 - len(found.rows.known())
    with pytest.raises(NotEnoughData, match=f"{missing} more dips with a known end: import a longer history"):
        BounceModel.fit(found.rows, fewest=found.config.min_event_samples)


def test_a_fit_as_of_a_day_is_the_fit_of_a_ledger_that_ends_there(ledger: Ledger, tmp_path: Path) -> None:
    """Bars, labels and volatility alike; the bundles are equal but for the configuration that they name."""
    day = close_of(-200)
    bars = stocked(ledger, until=day)
    before = prepare(bars, CONFIG)
    stock(ledger, {ticker: frame.between(day, None) for ticker, frame in frames().items()})
    after = prepare(bars, replace(CONFIG, as_of=day))
    for name in ("time", "ticker", "features", "label", "known_at"):
        assert np.array_equal(getattr(before.rows, name), getattr(after.rows, name)), name
    models = [BounceModel.fit(each.rows, fewest=40).to_payload() for each in (before, after)]
    assert models[0] == models[1]
    assert before.config_hash != after.config_hash
    assert prepare(bars, CONFIG).rows.known_at.max() > day
    first = prepare(bars, replace(CONFIG, as_of=day - 1)).gathered.until["AAPL"]
    assert first == close_of(-201)


def test_volatility_comes_from_the_index_that_is_named(ledger: Ledger) -> None:
    """Another key than the universe's own; a fit says which."""
    bars = stocked(ledger)
    stock(ledger, {"VIX": frames()["AMD"]})
    indexed = DailyBars(ledger, volatility_index=StreamKey("stocks", "VIX", "1d"))
    own, other = prepare(bars, CONFIG), prepare(indexed, CONFIG)
    assert (own.volatility_source, other.volatility_source) == ("universe", "stocks:VIX:1d")
    assert own.config_hash != other.config_hash
    assert not np.array_equal(own.rows.features[:, 6], other.rows.features[:, 6])
    close = frames()["AMD"].close
    times = frames()["AMD"].open_time
    row = other.rows.take(slice(-1, None))
    at = int(np.searchsorted(times, row.time[0]))
    year = close[at - 251 : at + 1]
    assert row.features[0, 6] == ((year < close[at]).sum() + (year <= close[at]).sum() + 1) / 2 / 252


def test_the_least_real_ticker_names_the_origin(ledger: Ledger, tmp_path: Path) -> None:
    """One synthetic ticker makes a synthetic model."""
    bars = stocked(ledger)
    stock(ledger, {"REAL": frames()["AMD"]}, origin=Origin.IMPORT)
    assert fitted(bars, tmp_path, CONFIG.with_tickers(["REAL"])).origin is Origin.IMPORT
    assert fitted(bars, tmp_path, CONFIG.with_tickers(["REAL", "AAPL"])).origin is Origin.SYNTHETIC


def test_work_can_be_ended_between_two_tickers(bars: DailyBars) -> None:
    """What the check raises passes through; it is asked once a ticker."""
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        prepare(bars, CONFIG, check=check)
    assert len(asked) == 2


def test_one_configuration_has_one_key(bars: DailyBars) -> None:
    """Whatever order, case and type its values come in; each number, ticker and day gives another."""
    same = [CONFIG, BounceHunterConfig.of(["googl ", "msft", "AAPL", "AAPL"], min_adv_usd=5_000_000)]
    same.append(BounceHunterConfig.from_json(CONFIG.to_json()))
    others = [
        replace(CONFIG, rebound_pct=0.031), replace(CONFIG, as_of=DAY), replace(CONFIG, horizon_days=6), FIVE,
        replace(CONFIG, as_of=DAY + 1), replace(CONFIG, min_event_samples=41),
    ]  # fmt: skip
    keys = {prepare(bars, config).config_hash for config in same}
    assert len(keys) == 1
    assert len(keys | {config.digest(labels="1") for config in [CONFIG, *others]}) == 8
