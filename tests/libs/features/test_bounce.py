"""Dips of daily bars: the documented formulas, no look ahead, and labels by the first touch."""

from dataclasses import fields, replace

import numpy as np
import pytest

from tests.libs.models.worlds import candles
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.times import DAY, HOUR
from tidewheel.features.bounce import (
    OWN,
    UNKNOWN,
    dips,
    newest,
    require_adjusted,
    require_history,
    signature,
    table,
)
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.rowsums import row_squares, row_sums

CONFIG = BounceHunterConfig.of(["AAPL"])


def days(sessions: int, seed: int = 1, size: float = 0.02) -> CandleFrame:
    """A ticker that trades on five days of seven, with gaps overnight."""
    rng = np.random.default_rng(seed)
    frame = candles(size * rng.standard_normal(sessions - 1), start=0, step=DAY)
    opened = frame.open * np.exp(0.3 * size * rng.standard_normal(sessions))
    index = np.arange(sessions)
    return replace(
        frame,
        open_time=(11_000 + index // 5 * 7 + index % 5) * DAY,
        open=opened,
        high=np.maximum(opened, frame.close) * 1.004,
        low=np.minimum(opened, frame.close) * 0.996,
        volume=1e6 + 1e5 * rng.random(sessions),
    )


def rolled(values: Floats, window: int, at: int) -> Floats:
    """The `window` values up to `at`."""
    return values[at - window + 1 : at + 1]


def wilder(close: Floats, window: int) -> float:
    """RSI by Wilder's own recursion over all of `close`."""
    gain = loss = 0.0
    for change in np.diff(close):
        gain += (max(change, 0.0) - gain) / window
        loss += (max(-change, 0.0) - loss) / window
    return 100.0 - 100.0 / (1.0 + gain / loss)


def test_features_are_the_documented_formulas() -> None:
    """Each of the six against a plain reading of its definition."""
    frame = days(420)
    rows, close = table(frame), frame.close
    returns = np.concatenate([[np.nan], np.diff(close) / close[:-1]])
    for at in (199, 250, 419):
        last_20 = rolled(close, 20, at)
        expected = {
            "z5": (close[at] / close[at - 5] - 1) / (rolled(returns, 60, at).std(ddof=1) * 5**0.5),
            "rsi2": wilder(close[: at + 1], 2),
            "bb_dev": (close[at] - (last_20.mean() - 2 * last_20.std(ddof=1))) / close[at],
            "dist_200": close[at] / rolled(close, 200, at).mean() - 1,
            "trend_63": close[at] / close[at - 63] - 1,
            "gap_dn": frame.open[at] / close[at - 1] - 1,
        }
        np.testing.assert_allclose(rows[at], [expected[name] for name in OWN], rtol=1e-9, atol=1e-12)
    assert np.isnan(rows[:199]).all()
    _, (money,) = newest([frame.take(slice(301))])
    assert money == pytest.approx(rolled(close * frame.volume, 21, 300).mean())


def test_no_row_knows_the_future_nor_where_the_frame_begins() -> None:
    """Later bars changed, and earlier ones left out, change no bit of a row."""
    frame = days(500)
    rows = table(frame)
    changed = replace(frame, close=np.where(np.arange(500) > 400, frame.close * 1.5, frame.close))
    assert np.array_equal(table(changed)[:401], rows[:401], equal_nan=True)
    assert not np.array_equal(table(changed)[401], rows[401])
    assert np.array_equal(table(frame.take(slice(100, None)))[199:], rows[299:])


def test_nothing_looks_back_across_a_long_break() -> None:
    """After ten days without a session the 200 begin anew; a holiday is no break."""
    frame = days(600)
    for pause, absent in ((4, 0), (30, 199)):
        later = replace(frame, open_time=frame.open_time + np.where(np.arange(600) >= 300, pause * DAY, 0))
        assert int(np.isnan(table(later)[300:]).any(axis=1).sum()) == absent
    with pytest.raises(NotEnoughData, match="NEW has 150 unbroken daily bars; a dip is told from 200: import 50 more"):
        require_history("NEW", frame.take(slice(0, 150)))


def test_a_market_that_stands_still_has_no_dips() -> None:
    """Nothing is divided by a deviation of zero."""
    frame = days(300)
    still = replace(frame, close=np.full(300, 10.0), open=np.full(300, 10.0))
    assert np.isnan(table(still)[-1, :2]).all()
    assert len(dips(still, CONFIG)) == 0


def test_dips_are_where_both_limits_are_met() -> None:
    """And each carries its row."""
    frame = days(2000, seed=3)
    rows = table(frame)
    found = dips(frame, CONFIG)
    expected = [at for at, row in enumerate(rows) if row[0] <= -1.5 and row[1] <= 10.0]
    assert len(found) == len(expected) > 40
    assert np.array_equal(found.time, frame.open_time[expected])
    assert np.array_equal(found.features, rows[expected])
    thin = replace(frame, volume=np.where(np.arange(2000) < 1000, 1.0, frame.volume))
    assert dips(thin, CONFIG).time.tolist() == [time for time in found.time if time >= frame.open_time[1001]]


@pytest.mark.parametrize(
    ("highs", "lows", "label", "day"),
    [
        ([1.01, 1.031], [0.99, 0.99], 1, 2),
        ([1.01, 1.04], [0.99, 0.96], 0, 2),
        ([1.031, 1.0], [0.99, 0.9], 1, 1),
        ([1.0, 1.2], [0.969, 1.0], 0, 1),
        ([1.0] * 4 + [1.02], [0.99] * 5, 0, 5),
        ([1.0] * 4, [0.99] * 4, UNKNOWN, 0),
        ([], [], UNKNOWN, 0),
    ],
    ids=["target", "both in one bar", "target first", "stop first", "neither", "not over", "today"],
)
def test_labels_by_the_first_touch(highs: list[float], lows: list[float], label: int, day: int) -> None:
    """Up to five sessions decide; what touches both in one bar is a loss; an open end is none."""
    frame = days(2000, seed=3)
    entry = int(np.flatnonzero(frame.open_time == dips(frame, CONFIG).time[10])[0])
    cut = frame.take(slice(0, entry + 1 + len(highs)))
    after = slice(entry + 1, None)
    high, low = cut.high.copy(), cut.low.copy()
    high[after], low[after] = np.array(highs) * cut.close[entry], np.array(lows) * cut.close[entry]
    found = dips(replace(cut, high=high, low=low), CONFIG)
    place = int(np.flatnonzero(found.time == cut.open_time[entry])[0])
    assert found.label[place] == label
    assert found.known_at[place] == cut.open_time[entry + day] + DAY


def test_an_unadjusted_split_is_refused_by_its_day() -> None:
    """Two, ten or a half for one; a crash of a third is a crash."""
    frame = days(300)
    for factor, refused in ((0.5, True), (0.1, True), (3.0, True), (0.67, False)):
        scale = np.where(np.arange(300) >= 150, factor * frame.close[149] / frame.open[150], 1.0)
        jumped = replace(frame, open=frame.open * scale, close=frame.close * scale)
        if refused:
            with pytest.raises(BadInput, match=f"AAPL opens on .* at {factor:.3g} times the close before"):
                require_adjusted("AAPL", jumped)
        else:
            require_adjusted("AAPL", jumped)


def test_only_days_are_read_and_a_configuration_is_checked() -> None:
    """With a sentence that names the value."""
    with pytest.raises(BadInput, match="the bars are 3600 s long"):
        table(candles(np.zeros(10), start=0, step=HOUR))
    for name in {each.name for each in fields(BounceHunterConfig)} - {"tickers", "as_of"}:
        with pytest.raises(BadInput, match=f"{name} = nan is not (within|a whole number)"):
            BounceHunterConfig.of(["AAPL"], **{name: float("nan")})
    with pytest.raises(BadInput, match="0 tickers; name 1 to 1,000"):
        BounceHunterConfig.of([])
    assert BounceHunterConfig.of([" msft", "AAPL"]) == BounceHunterConfig.of(["AAPL", "MSFT", "MSFT"])
    digests = {
        CONFIG.digest(), CONFIG.digest(label="2"), CONFIG.with_tickers(["MSFT"]).digest(),
        replace(CONFIG, as_of=DAY).digest(), replace(CONFIG, horizon_days=6).digest(),
    }  # fmt: skip
    assert len(digests) == 5
    assert signature("universe") != signature("cboe:VIX:1d")


def test_the_newest_rows_of_many_tickers_are_each_ones_own() -> None:
    """To the bit, whatever stands beside them; a young, a broken and an empty one have none."""
    tickers = [days(200 + 37 * seed, seed, size=0.01 * (1 + seed)) for seed in range(5)]
    broken = replace(
        tickers[2], open_time=tickers[2].open_time + np.where(np.arange(len(tickers[2])) > 150, 20, 0) * DAY
    )
    still = replace(days(250), open=np.full(250, 9.0), close=np.full(250, 9.0))
    mixed = [*tickers, days(199), broken, still, days(5).take(slice(0, 0)), tickers[0]]
    rows, money = newest(mixed)
    for sessions, row, sold in zip(mixed, rows, money, strict=True):
        last = table(sessions)[-1] if len(sessions) else np.full(len(OWN), np.nan)
        assert row.tobytes() == last.tobytes()
        assert np.isnan(last[2]) or sold == newest([sessions])[1][0]
    assert [place for place, row in enumerate(rows) if np.isnan(row).all()] == [5, 6, 8]
    assert [len(part) for part in newest([])] == [0, 0]
    with pytest.raises(BadInput, match="the bars are 3600 s long"):
        newest([candles(np.zeros(300), start=0, step=HOUR)])


def test_sums_of_rows_have_the_same_bits_in_any_company() -> None:
    """A row alone, one of few and one of many; first column first, as a loop would add."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(1_000, 60)) * 10.0 ** rng.integers(-6, 6, size=(1_000, 60))
    middle = rng.normal(size=1_000)
    plain = np.array([sum(row.tolist(), 0.0) for row in rows])
    squares = np.array(
        [
            sum([(value - away) * (value - away) for value in row.tolist()], 0.0)
            for row, away in zip(rows, middle, strict=True)
        ]
    )
    for count in (1, 2, 256, 257, 1_000):
        assert row_sums(rows[:count]).tobytes() == plain[:count].tobytes()
        assert row_squares(rows[:count], middle[:count]).tobytes() == squares[:count].tobytes()
    assert row_sums(np.zeros((3, 0))).tolist() == [0.0, 0.0, 0.0]
    assert np.signbit(row_sums(np.full((1, 2), -0.0))).tolist() == [False]
