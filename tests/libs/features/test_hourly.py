"""The documented features of hourly closes: their formulas, real spacing, and no look ahead."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.libs.models.worlds import candles, market
from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.times import HOUR, MINUTE
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.hourly import (
    BASE,
    CATALOGUE,
    documented,
    latest,
    lookback,
    signature,
    table,
    target,
    to_hours,
    volatility,
)

ALL = tuple(sorted(CATALOGUE))
Table = Callable[[CandleFrame], Floats]


def hours(bars: int, seed: int = 1) -> CandleFrame:
    """A market without gaps, by the hour."""
    return candles(0.01 * np.random.default_rng(seed).standard_normal(bars - 1), start=500_000 * HOUR, step=HOUR)


def holed(bars: int = 900, missing: int = 40) -> CandleFrame:
    """... of which some bars are absent."""
    keep = np.ones(bars, bool)
    keep[np.random.default_rng(9).choice(np.arange(1, bars - 1), missing, replace=False)] = False
    return hours(bars).take(keep)


def shift(values: Floats, by: int) -> Floats:
    """pandas' shift."""
    return np.concatenate([np.full(by, np.nan), values[: len(values) - by]])


def rolling_mean(values: Floats, window: int) -> Floats:
    """pandas' rolling(window).mean()."""
    return np.array([values[i - window + 1 : i + 1].mean() if i >= window - 1 else np.nan for i in range(len(values))])


def test_features_are_the_documented_formulas() -> None:
    """Without gaps each feature is what the document's shifts and rolling means give, in its order."""
    frame = hours(600)
    close = frame.close
    formulas = {
        **{f"lag_{by}h": shift(close, by) for by in (1, 2, 24, 48, 168)},
        **{f"SMA_{window}h": rolling_mean(close, window) for window in (10, 24, 168)},
        **{f"price_change_{by}h": close - shift(close, by) for by in (1, 24)},
        "close_price": close,
        "horizon": np.full(600, 24.0),
    }
    assert set(formulas) == CATALOGUE

    found = table(frame, ALL, horizon=24, relative=False)

    for column, name in enumerate(ALL):
        np.testing.assert_allclose(found[:, column], formulas[name], rtol=1e-12, atol=1e-12, err_msg=name)
    assert documented(23) == BASE == ("lag_1h", "lag_2h", "lag_24h", "SMA_10h", "price_change_1h")
    assert documented(24) == documented(167) == (*BASE, "lag_48h", "SMA_24h", "price_change_24h")
    assert documented(168) == (*documented(24), "lag_168h", "SMA_168h")


def test_relative_features_know_no_price_level() -> None:
    """Levels enter as x / close - 1 and changes as x / close, so a market ten times dearer looks the same."""
    frame = hours(400)
    prices, found = (table(frame, ALL, horizon=3, relative=relative) for relative in (False, True))
    for column, name in enumerate(ALL):
        is_change, is_level = name.startswith("price_change"), name != "horizon"
        expected = prices[:, column] / frame.close - (0 if is_change else 1) if is_level else prices[:, column]
        np.testing.assert_array_equal(found[:, column], expected, err_msg=name)

    rows = np.array(frame.rows())
    rows[:, 1:5] *= 10
    dearer = table(CandleFrame.from_rows(HOUR, rows), ALL, horizon=3, relative=True)
    np.testing.assert_allclose(dearer, found, rtol=1e-12, atol=1e-14)


def test_a_lag_across_a_hole_is_missing() -> None:
    """Every value of a market with holes is that of the same market without, or missing as a bar behind it is."""
    whole, frame = hours(900), holed()
    present = np.isin(whole.open_time, frame.open_time)
    expected = table(whole, ALL, horizon=1, relative=False)
    for column, name in enumerate(ALL):
        back = lookback([name])
        kind = name.partition("_")[0]
        needed = range(back + 1) if kind == "SMA" else (0, back)
        for row in range(900):
            if any(row < hour or not present[row - hour] for hour in needed):
                expected[row, column] = np.nan

    found = table(frame, ALL, horizon=1, relative=False)

    np.testing.assert_array_equal(found, expected[present])
    assert np.isnan(found[200:]).any(axis=0).sum() == len(ALL) - 2  # all but close_price and horizon
    for horizon in (1, 24):
        later = np.concatenate([whole.close[horizon:], np.full(horizon, np.nan)])
        later[: 900 - horizon][~present[horizon:]] = np.nan
        np.testing.assert_array_equal(target(frame, horizon, relative=False), later[present])
        np.testing.assert_array_equal(target(frame, horizon, relative=True), (later / whole.close - 1)[present])


def leaking(made: Table, frame: CandleFrame) -> set[int]:
    """Columns whose past rows change when bars to come are cut off or become others, to the bit."""
    whole, found = made(frame), set[int]()
    for cut in (1, 30, 170, len(frame) // 2, len(frame) - 1):
        rows = np.array(frame.rows())
        rows[cut:, 1:5] *= np.random.default_rng(cut).uniform(0.2, 5)
        for other in (frame.take(slice(0, cut)), CandleFrame.from_rows(HOUR, rows)):
            past = made(other)[:cut]
            found |= {
                column for column in range(whole.shape[1]) if past[:, column].tobytes() != whole[:cut, column].tobytes()
            }
    return found


@pytest.mark.parametrize("relative", [False, True])
def test_no_feature_looks_ahead(relative: bool) -> None:
    """Bars to come change no bit of any feature: neither when they are absent nor when they are others."""
    for frame in (hours(400), holed(400)):
        assert leaking(lambda bars: table(bars, ALL, horizon=24, relative=relative), frame) == set()
        assert leaking(lambda bars: volatility(bars)[:, None], frame) == set()


@pytest.mark.parametrize(
    "leak",
    [
        lambda bars: target(bars, 1, relative=False),
        lambda bars: target(bars, 168, relative=True),
        lambda bars: bars.close / bars.close.mean(),
        lambda bars: bars.close / bars.close.max(),
        lambda bars: np.convolve(bars.close, np.ones(3) / 3, "full")[1:-1],
    ],
    ids=["the label", "the label a week ahead", "the mean of all", "the peak of all", "a centred mean"],
)
def test_a_planted_leak_is_caught(leak: Callable[[CandleFrame], Floats]) -> None:
    """The test above accuses a column that knows the future, and that one alone."""

    def made(bars: CandleFrame) -> Floats:
        return np.column_stack([table(bars, BASE, horizon=1, relative=False), leak(bars)])

    assert leaking(made, hours(400)) == {len(BASE)}


def test_latest_is_the_last_row() -> None:
    """Serving reads the very bits that training read, from no more bars than `lookback` says."""
    frame = hours(500)
    for relative in (False, True):
        for horizon in (1, 24, 168):
            names = documented(horizon)
            rows = table(frame, names, horizon=horizon, relative=relative)
            for end in (lookback(names) + 1, 400, 500):
                found = latest(frame.take(slice(0, end)), names, horizon=horizon, relative=relative)
                assert found.tobytes() == rows[end - 1].tobytes()
                few = frame.take(slice(end - lookback(names) - 1, end))
                assert latest(few, names, horizon=horizon, relative=relative).tobytes() == found.tobytes()


def test_a_missing_feature_is_named_and_never_padded() -> None:
    """A hole, or a history too short, is an error that names the features and the hours."""
    frame = hours(60).take(np.r_[0:35, 36:60])  # 24 hours before the last bar there is none
    with pytest.raises(NotEnoughData) as caught:
        latest(frame, documented(24), horizon=24, relative=True)
    assert caught.value.code == "history_has_gaps"
    assert caught.value.extra["missing"] == ["lag_24h", "price_change_24h"]
    assert "need 1 complete hours that are not stored: 2027-01-16T19:00:00Z;" in caught.value.detail

    with pytest.raises(NotEnoughData, match=r"lag_168h, SMA_168h need 109 complete hours .* \.\.\.;"):
        latest(hours(60), documented(168), horizon=168, relative=True)
    with pytest.raises(NotEnoughData, match=r"^No historical data available for prediction$") as empty:
        latest(CandleFrame.empty(HOUR), BASE, horizon=1, relative=False)
    assert empty.value.code == "no_historical_data"


@pytest.mark.parametrize("minutes", [1, 5, 15, 30, 60])
def test_hours_are_made_of_all_their_bars(minutes: int) -> None:
    """An hour is the first open, the last close, the extremes and the sum of its bars, known with the last of them."""
    step, parts = minutes * MINUTE, 60 // minutes
    rng = np.random.default_rng(minutes)
    bars = candles(0.01 * rng.standard_normal(50 * parts), start=500_000 * HOUR - step, step=step)
    rows = np.array(bars.rows())
    rows[:, 5] = rng.uniform(1, 2, len(rows))
    rows[:, 2] *= rng.uniform(1, 1.1, len(rows))
    known = bars.available_at + rng.integers(0, HOUR, len(rows))
    frame = CandleFrame.from_rows(step, rows, known)

    found = to_hours(frame).checked()

    assert len(found) == (51 if minutes == 60 else 50)
    for row, opened in enumerate(found.open_time.tolist()):
        inside = frame.between(opened, opened + HOUR)
        assert len(inside) == parts
        assert (found.open[row], found.close[row]) == (inside.open[0], inside.close[-1])
        assert (found.high[row], found.low[row]) == (inside.high.max(), inside.low.min())
        assert found.volume[row] == pytest.approx(inside.volume.sum(), rel=1e-14)
        assert found.available_at[row] == inside.available_at.max()


def test_an_incomplete_hour_is_absent() -> None:
    """An hour that lacks one bar, at its start, in its midst or at its end, is no hour; the others do not move."""
    bars = market(60 * 10, 1).rows()
    start = -(-bars[0][0] // HOUR) * HOUR
    whole = [row for row in bars if start <= row[0] < start + 8 * HOUR]
    lacking = {start + MINUTE * minute for minute in (0, 60 * 2 + 30, 60 * 5 + 59, 60 * 7 + 59)}

    found = to_hours(CandleFrame.from_rows(MINUTE, [row for row in whole if row[0] not in lacking]))

    assert found.open_time.tolist() == [start + HOUR * hour for hour in (1, 3, 4, 6)]
    assert len(to_hours(CandleFrame.empty(MINUTE))) == 0
    all_hours = to_hours(CandleFrame.from_rows(MINUTE, whole))
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(found, name), getattr(all_hours, name)[[1, 3, 4, 6]], err_msg=name)


def test_a_corrected_bar_shows_in_its_hour() -> None:
    """An hour counts the revisions of its most revised bar."""
    frame = candles(np.zeros(3), start=500_000 * HOUR, step=30 * MINUTE)
    frame.revision[2] = 3

    assert to_hours(frame).revision.tolist() == [0, 3]


@pytest.mark.parametrize("minutes", [7, 45, 90, 240])
def test_a_step_that_does_not_divide_an_hour_is_refused(minutes: int) -> None:
    """Bars of 45 minutes or 4 hours make no hours."""
    with pytest.raises(BadInput, match=f"bars of {minutes} minutes do not make up hours"):
        to_hours(CandleFrame.empty(minutes * MINUTE))


def test_what_cannot_be_meant_is_refused() -> None:
    """An unknown name, bars that are no hours, and a horizon that is not ahead each get a sentence."""
    with pytest.raises(BadInput, match="feature 'rsi_14' is not known; the features are SMA_10h, ") as caught:
        table(hours(30), ["lag_1h", "rsi_14"], horizon=1, relative=False)
    assert caught.value.code == "unknown_feature"
    with pytest.raises(BadInput, match="the bars are 60000 ms long"):
        table(market(30, 1), BASE, horizon=1, relative=False)
    with pytest.raises(BadInput, match="the bars are 60000 ms long"):
        target(market(30, 1), 1, relative=False)
    with pytest.raises(BadInput, match="horizon 0 is not possible"):
        target(hours(30), 0, relative=False)


def test_volatility_is_the_mean_move_of_a_day() -> None:
    """By hand at each bar: 24 moves by the clock, those across a hole left out, twelve at least; none looks ahead."""
    frame = holed()
    at = dict(zip(frame.open_time.tolist(), frame.close.tolist(), strict=True))
    found = volatility(frame)
    for place, time in enumerate(frame.open_time.tolist()):
        ends = [time - back * HOUR for back in range(24)]
        moves = [abs(at[end] / at[end - HOUR] - 1) for end in ends if end in at and end - HOUR in at]
        expected = np.mean(moves) if len(moves) >= 12 else np.nan
        assert found[place] == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert np.isnan(found[:12]).all() and not np.isnan(found[24:]).any()
    assert volatility(frame.take(slice(100, 400)))[24:].tobytes() == found[124:400].tobytes()


def test_signature_knows_names_order_and_units() -> None:
    """Another name, order or unit is another meaning."""
    variants = [
        signature(BASE, relative=False),
        signature(BASE, relative=True),
        signature(tuple(reversed(BASE)), relative=False),
        signature(documented(24), relative=False),
        signature(("SMA_10h", "SMA_24h"), relative=False),
        signature(("SMA_24h", "SMA_10h"), relative=False),
    ]
    assert len(set(variants)) == len(variants)
    assert variants[0] == signature(list(BASE), relative=False)
