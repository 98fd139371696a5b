"""A scan reads the ledger anew, tells a session as a fit would have, and knows nothing of later."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.libs.bounce.universe import CONFIG, close_of, entry, frames, stocked
from tests.tickers import stock
from tidewheel.bounce.entries import CachedModel
from tidewheel.bounce.files import Made
from tidewheel.bounce.fitting import prepare
from tidewheel.bounce.gathering import volatility_of
from tidewheel.bounce.market import DailyBars
from tidewheel.bounce.scanning import Scan, scan
from tidewheel.contracts.errors import BadInput, Conflict, NotEnoughData
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import DAY, UtcMillis
from tidewheel.features.bounce import OWN, table
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger
from tidewheel.models.bounce import BounceModel

EASY = replace(CONFIG, bcs_threshold=0.0, bcs_threshold_highvix=0.0)  #: every dip is a signal


def as_of(bars: DailyBars, when: UtcMillis, made: Made) -> Scan:
    """A scan of that day by a model that is made the same for all days."""
    config = replace(EASY, as_of=when)
    rows = made.gathered
    told = replace(rows, until=dict.fromkeys(rows.until, when), squares=rows.squares.between(None, when))
    model = replace(made.model, known_at=when)
    return scan(bars, CachedModel.of(replace(made, config=config, gathered=told, model=model)))


def test_each_session_is_scanned_as_a_fit_would_have_told_it(bars: DailyBars, made: Made) -> None:
    """Features, volatility and probability equal those of the rows; what is no dip is no signal, and none is missed."""
    rows = made.gathered.rows(volatility_of(bars, made.gathered.squares, None))
    tickers = sorted(made.gathered.dips)
    recent = sorted({*rows.time[-15:].tolist(), *frames()["AAPL"].open_time[-5:].tolist()})
    seen = 0
    for session in recent:
        found = as_of(bars, session + DAY, made)
        assert found.session == session
        expected = [place for place in np.flatnonzero(rows.time == session) if rows.features[place, 3] > -0.12]
        assert {signal.ticker for signal in found.signals} == {tickers[rows.ticker[place]] for place in expected}
        for place in expected:
            signal = next(each for each in found.signals if each.ticker == tickers[rows.ticker[place]])
            assert [signal.features[name] for name in OWN] == rows.features[place, :6].tolist()
            assert found.volatility.percentile == rows.features[place, 6]
            assert signal.probability == made.model.probability(rows.features[[place]])[0]
            seen += 1
    assert seen > 10


def test_a_signal_tells_its_prices(bars: DailyBars, made: Made) -> None:
    """Entry at the close, target and stop by the configuration; the most probable comes first."""
    rows = made.gathered.rows(volatility_of(bars, made.gathered.squares, None))
    time, dipped = np.unique(rows.time[rows.features[:, 3] > -0.12], return_counts=True)
    session = int(time[dipped > 1][-1])
    found = as_of(bars, session + DAY, made)
    assert len(found.signals) > 1
    assert [each.probability for each in found.signals] == sorted((s.probability for s in found.signals), reverse=True)
    for signal in found.signals:
        frame = frames()[signal.ticker]
        close = float(frame.close[np.searchsorted(frame.open_time, session)])
        assert (signal.session, signal.entry_price) == (session, close)
        assert (signal.target_price, signal.stop_price) == (close * 1.03, close * 0.97)


def test_the_threshold_rises_with_volatility(bars: DailyBars, made: Made) -> None:
    """0.62, and 0.68 from the 80th percentile on; a signal below it is not told."""
    rows = made.gathered.rows(volatility_of(bars, made.gathered.squares, None))
    levels = rows.features[:, 6]
    newest = {"low": levels < 0.33, "normal": (levels >= 0.33) & (levels < 0.8), "high": levels >= 0.8}
    for regime, places in newest.items():
        place = np.flatnonzero(places)[-1]
        session, level = int(rows.time[place]), float(levels[place])
        easy = as_of(bars, session + DAY, made)
        config = replace(CONFIG, as_of=session + DAY)
        squares = made.gathered.squares.between(None, session + DAY)
        until = dict.fromkeys(made.gathered.until, session + DAY)
        model = replace(made.model, known_at=session + DAY)
        gathered = replace(made.gathered, until=until, squares=squares)
        strict = scan(bars, CachedModel.of(replace(made, config=config, gathered=gathered, model=model)))
        least = 0.68 if level >= 0.8 else 0.62
        assert strict.threshold == least
        assert strict.signals == tuple(signal for signal in easy.signals if signal.probability >= least)
        assert (easy.volatility.regime, easy.volatility.percentile) == (regime, level)


def test_new_bars_are_seen_by_the_same_entry(ledger: Ledger, tmp_path: Path) -> None:
    """The model is cached; market data never is, not even what was corrected."""
    bars = stocked(ledger, until=close_of(-20))
    kept = entry(bars, tmp_path)
    assert scan(bars, kept).session == close_of(-20) - DAY
    stock(ledger, {ticker: frame.between(close_of(-20), None) for ticker, frame in frames().items()})
    now = scan(bars, kept)
    assert now.session == close_of(-1) - DAY
    everything = prepare(bars, CONFIG)
    level = volatility_of(bars, everything.gathered.squares, None)
    assert now.volatility.percentile == level.percentile[-1]
    last = frames()["AAPL"].take(slice(-1, None))
    half = replace(last, open=last.open * 0.93, high=last.open * 0.93, low=last.close * 0.9, close=last.close * 0.9)
    stock(ledger, {"AAPL": half})
    corrected = scan(bars, replace(kept, metadata=replace(kept.metadata, config=EASY)))
    row = table(bars_of(ledger))[-1]
    assert [corrected.signals[0].features[name] for name in OWN] == row.tolist()
    assert corrected.signals[0].entry_price == half.close[0]


def bars_of(ledger: Ledger) -> CandleFrame:
    """AAPL as the ledger has it."""
    return ledger.bars.read(StreamKey("stocks", "AAPL", "1d"))


def test_a_model_that_knows_of_later_is_refused(bars: DailyBars, made: Made) -> None:
    """Were the entry of another day put in the place of this one, nobody would be answered by it."""
    early = replace(CONFIG, as_of=close_of(-100))
    for planted in (
        made,
        replace(made, gathered=replace(made.gathered, until=dict.fromkeys(made.gathered.until, close_of(-101)))),
    ):
        with pytest.raises(Conflict, match="the model knows of") as later:
            scan(bars, CachedModel.of(replace(planted, config=early)))
        assert later.value.code == "model_from_later"
    prepared = prepare(bars, early)
    honest = prepared.made(BounceModel.fit(prepared.rows, fewest=40))
    assert scan(bars, CachedModel.of(honest)).session == close_of(-100) - DAY


def test_a_ticker_whose_bars_end_early_is_left_out(ledger: Ledger, tmp_path: Path) -> None:
    """Its last dip is no signal of today; a few days behind, such as a weekend, are none."""
    old = frames()["AMD"]
    bars = stocked(ledger, AMD=old.take(slice(None, -6)), TSLA=old.take(slice(None, -3)))
    kept = entry(bars, tmp_path, CONFIG.with_tickers(frames()))
    found = scan(bars, kept)
    assert set(found.left_out) == {"AMD"}
    assert found.left_out["AMD"].startswith("behind: the newest session of AMD is of ")
    assert found.scanned == tuple(sorted({*frames()} - {"AMD"}))


@pytest.mark.parametrize(("sessions", "told"), [(600, "more than a year earlier"), (250, "of ")])
def test_a_ticker_that_ended_long_ago_is_behind_not_short(
    ledger: Ledger, tmp_path: Path, sessions: int, told: str
) -> None:
    """Few of its bars are read, or none: that is told by its end, not as a history that is too short."""
    bars = stocked(ledger, AMD=frames()["AMD"].take(slice(None, -sessions)))
    found = scan(bars, entry(bars, tmp_path, CONFIG.with_tickers(frames())))
    assert found.left_out["AMD"].startswith(f"behind: the newest session of AMD is {told}")


def test_who_is_not_scanned_is_part_of_the_market(ledger: Ledger, tmp_path: Path) -> None:
    """Of the last year's volatility a ticker that ends early or paused is told as a fit tells it."""
    old = frames()["AMD"]
    paused = np.r_[0 : len(old) - 160, len(old) - 140 : len(old)]
    universe = CONFIG.with_tickers(frames())
    bars = stocked(ledger, AMD=old.take(slice(None, -30)), TSLA=frames()["TSLA"].take(paused))
    found = scan(bars, entry(bars, tmp_path, universe))
    assert set(found.left_out) == {"AMD", "TSLA"}
    level = volatility_of(bars, prepare(bars, universe).gathered.squares, None)
    assert found.volatility.percentile == level.percentile[-1]


def test_what_the_fit_left_out_is_not_scanned(ledger: Ledger, tmp_path: Path) -> None:
    """A split of years ago, which the newest year does not show: the answer is that of a universe without it."""
    old = frames()["AAPL"]
    half = np.where(np.arange(len(old)) < 300, 2.0 * old.close[299] / old.open[300], 1.0)
    prices = {name: getattr(old, name) * half for name in ("open", "high", "low", "close")}
    bars, found = stocked(ledger, AAPL=replace(old, **prices)), []
    for tickers in (CONFIG.tickers, [ticker for ticker in CONFIG.tickers if ticker != "AAPL"]):
        prepared = prepare(bars, EASY.with_tickers(tickers))
        found.append(scan(bars, CachedModel.of(prepared.made(BounceModel.fit(prepared.rows, fewest=40)))))
    assert found[0].left_out["AAPL"].startswith("unadjusted_split")
    assert replace(found[0], left_out={}) == found[1]


def test_a_ticker_a_few_days_behind_is_judged_by_its_own_session(ledger: Ledger, tmp_path: Path) -> None:
    """Its features, volatility and threshold are those of the day at whose close it is decided, as in a fit."""
    whole = frames()["AAPL"]
    rows = prepare(stocked(ledger), CONFIG.with_tickers(["AAPL"])).rows
    dip = next(
        place for place in range(len(rows) - 1, 0, -1) if rows.features[place, 3] > -0.12 and rows.label[place] >= 0
    )
    at = int(np.searchsorted(whole.open_time, rows.time[dip]))
    ahead = int(whole.open_time[at + 2])
    bars = DailyBars(ledger, exchange="behind")
    frame = frames()
    short = {"AAPL": whole.take(slice(None, at + 1))}
    stock(
        ledger,
        {**{ticker: frame[ticker].between(None, ahead + 1) for ticker in ("MSFT", "GOOGL")}, **short},
        exchange="behind",
    )
    kept = entry(bars, tmp_path, EASY)
    found = scan(bars, kept)
    (signal,) = (each for each in found.signals if each.ticker == "AAPL")
    assert (found.session, signal.session) == (ahead, int(rows.time[dip]))
    levels = volatility_of(bars, kept.gathered.squares, None)
    assert signal.volatility.percentile == levels.at(rows.time[dip : dip + 1])[0] != found.volatility.percentile
    assert found.volatility.percentile == levels.percentile[-1]
    fitted = np.array([[*signal.features.values(), signal.volatility.percentile]])
    assert signal.probability == kept.model.probability(fitted)[0]


def test_a_scan_that_cannot_be_meant_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """Another volatility index than the entry's; an index that ends before the bars."""
    bars = stocked(ledger)
    stock(ledger, {"VIX": frames()["AMD"].take(slice(None, -2))})
    indexed = DailyBars(ledger, volatility_index=StreamKey("stocks", "VIX", "1d"))
    with pytest.raises(BadInput, match="from universe, and this scan from stocks:VIX:1d"):
        scan(indexed, entry(bars, tmp_path))
    other = entry(indexed, tmp_path)
    with pytest.raises(NotEnoughData, match=r"volatility of stocks:VIX:1d ends on .*import what is missing"):
        scan(indexed, other)
    stock(ledger, {"VIX": frames()["AMD"].take(slice(-2, None))})
    found = scan(indexed, other)
    close = frames()["AMD"].close[-252:]
    assert found.volatility.percentile == ((close < close[-1]).sum() + (close <= close[-1]).sum() + 1) / 2 / 252
