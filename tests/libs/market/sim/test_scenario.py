import numpy as np
import pytest

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import DAY, MINUTE
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.market.sim.scenario import PHASE_BARS, SHUFFLED_BARS, Series, demo, scenario


def phase(series: Series, number: int) -> CandleFrame:
    return series.frame.take(slice((number - 1) * PHASE_BARS, number * PHASE_BARS))


def returns(frame: CandleFrame) -> Floats:
    return np.log(frame.close / frame.open)


def memory(values: Floats) -> float:
    """Correlation of one bar's absolute return with the next one's."""
    size = np.abs(values)
    return float(np.corrcoef(size[:-1], size[1:])[0, 1])


def test_three_streams_of_thirty_contiguous_days() -> None:
    told = demo(1)

    assert [series.symbol for series in told.series] == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    assert told.phase_ends() == [told.start + days * DAY for days in (10, 20, 30)]
    for series in told.series:
        assert len(series.frame.segments()) == 1
        assert series.frame.open_time[0] == told.start
        assert series.frame.open_time[-1] + MINUTE == told.phase_ends()[-1]


def test_the_seed_decides_every_bar() -> None:
    one, again, other = demo(3), demo(3), demo(4)

    assert one.series[0].frame.rows() == again.series[0].frame.rows()
    assert one.series[0].frame.rows() != other.series[0].frame.rows()
    assert not np.allclose(returns(one.series[0].frame), returns(one.series[1].frame))


@pytest.mark.parametrize("seed", range(1, 6))
def test_volatility_doubles_in_the_second_phase(seed: int) -> None:
    ratios = [returns(phase(series, 2)).std() / returns(phase(series, 1)).std() for series in demo(seed).series]

    assert 1.6 < np.mean(ratios) < 2.4


def test_shuffling_keeps_each_return_and_destroys_what_follows_what() -> None:
    """Eight days hold the same returns in another order; the two days after them are untouched."""
    for mixed, ordered in zip(demo(2).series, demo(2, shuffled=False).series, strict=True):
        ours, theirs = returns(phase(mixed, 3)), returns(phase(ordered, 3))

        assert np.allclose(np.sort(ours[:SHUFFLED_BARS]), np.sort(theirs[:SHUFFLED_BARS]), atol=2e-6)
        assert np.allclose(ours[SHUFFLED_BARS:], theirs[SHUFFLED_BARS:], atol=2e-6)
        assert abs(memory(ours[:SHUFFLED_BARS])) < 0.03
        assert memory(theirs[:SHUFFLED_BARS]) > 0.1
        assert memory(ours[SHUFFLED_BARS:]) > 0.1
        assert phase(mixed, 2).rows() == phase(ordered, 2).rows()


def test_an_unknown_scenario_is_named() -> None:
    with pytest.raises(BadInput, match="'rainy' is not known"):
        scenario("rainy", 1)
    with pytest.raises(BadInput, match="seed -1"):
        scenario("demo", -1)
