"""The volatility percentile: a rank in the past year, from an index or from the universe itself."""

from dataclasses import replace

import numpy as np

from tests.libs.features.test_bounce import days
from tidewheel.features.frames import CandleFrame
from tidewheel.features.volatility import Squares, at_sessions, percentile


def test_a_percentile_is_a_rank_in_the_past_year() -> None:
    """As pandas ranks the last of 252, from the fortieth session on."""
    level = np.round(np.random.default_rng(2).random(400), 2)
    time, found = percentile(np.arange(400), level)
    assert time.tolist() == list(range(39, 400))
    for at in (39, 200, 399):
        window = level[max(0, at - 251) : at + 1]
        rank = 0.5 * ((window < level[at]).sum() + (window <= level[at]).sum() + 1)
        assert found[at - 39] == rank / len(window)
    assert np.array_equal(percentile(np.arange(400), np.where(np.arange(400) > 300, 9.0, level))[1][:262], found[:262])


def test_realised_volatility_of_a_universe_is_added_up_ticker_by_ticker() -> None:
    """In any order and in any parts, to the bit."""
    frames = {name: days(300, seed) for seed, name in enumerate(("AAPL", "AMD", "TSLA"))}
    frames["AMD"] = frames["AMD"].take(slice(50, 200))
    parts = {name: Squares.of(frame) for name, frame in frames.items()}
    whole = Squares.added(parts.values())
    first, second, third = parts.values()
    again = Squares.added([third, Squares.added([second, first])])
    assert np.array_equal(whole.total, again.total)
    assert whole.tickers.tolist() == [2] * 50 + [3] * 149 + [2] * 100
    time, level = whole.realised()
    squares = [np.mean([value for each in frames.values() for value in squared(each, when)]) for when in whole.time]
    expected = [np.mean(squares[at - 20 : at + 1]) ** 0.5 for at in range(20, 299)]
    np.testing.assert_allclose(level, expected, rtol=1e-7)
    assert time[0] == whole.time[20]
    assert np.isnan(at_sessions(whole.time[:21], time, level)[:20]).all()


def squared(sessions: CandleFrame, when: int) -> list[float]:
    """The ticker's squared log return of that session, where it has one."""
    at = np.flatnonzero(sessions.open_time[1:] == when)
    return [float(np.log(sessions.close[place + 1] / sessions.close[place]) ** 2) for place in at]


def test_no_return_reaches_across_a_break_nor_counts_more_than_fits() -> None:
    """Sums of a thousand absurd tickers stay what they are."""
    whole = days(100, 3)
    broken = whole.take(np.r_[0:40, 55:100])
    assert Squares.of(broken).time.tolist() == [*whole.open_time[1:40], *whole.open_time[56:]]
    absurd = replace(whole, close=np.where(np.arange(100) % 2, 1e300, 1e-300))
    assert (Squares.added([Squares.of(absurd)] * 1000).total == 1000 * 2**50).all()
    part = Squares.of(whole).between(int(whole.open_time[10]), int(whole.open_time[12]))
    assert part.time.tolist() == whole.open_time[10:12].tolist()
