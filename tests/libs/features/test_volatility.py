"""The volatility percentile: a rank in the past year, from an index or from the universe itself."""

import numpy as np

from tests.libs.features.test_bounce import days
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
    """In any order and in any parts, to the bit where tickers are added in the order of their names."""
    frames = {name: days(300, seed) for seed, name in enumerate(("AAPL", "AMD", "TSLA"))}
    frames["AMD"] = frames["AMD"].take(slice(50, 200))
    parts = {name: Squares.of(frame) for name, frame in frames.items()}
    whole = Squares.added(parts)
    again = Squares.added(dict(reversed(parts.items())))
    assert np.array_equal(whole.total, again.total)
    assert whole.tickers.tolist() == [2] * 50 + [3] * 149 + [2] * 100
    time, level = whole.realised()
    squares = [
        np.mean([value for part in parts.values() for value in part.total[part.time == when]]) for when in whole.time
    ]
    np.testing.assert_allclose(level, [np.mean(squares[at - 20 : at + 1]) ** 0.5 for at in range(20, 299)])
    assert time[0] == whole.time[20]
    assert np.isnan(at_sessions(whole.time[:21], time, level)[:20]).all()
