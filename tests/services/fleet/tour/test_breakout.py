"""The toy strategy of the tour."""

from typing import Any

import numpy as np
import pytest

from services.fleet.tour.breakout import COST, atr, trade
from tests.libs.models.worlds import START
from tidewheel.features.frames import CandleFrame

MINUTE = 60_000
PARAMS: dict[str, Any] = {
    "lookback_bars": 10,
    "entry_buffer_atr": 0.0,
    "stop_atr": 2.0,
    "trail_atr": 100.0,
    "max_hold_bars": 20,
    "entry_order": "market",
}


def frame(closes: list[float]) -> CandleFrame:
    """Bars that open at the close before, a tenth beyond which their wicks reach."""
    opens = [closes[0], *closes[:-1]]
    return CandleFrame.from_rows(
        MINUTE,
        [
            (START + number * MINUTE, opened, max(opened, close) + 0.1, min(opened, close) - 0.1, close, 1.0)
            for number, (opened, close) in enumerate(zip(opens, closes, strict=True))
        ],
    )


def test_the_true_range_is_averaged_over_thirty_bars() -> None:
    """A jump from one close to the next bar counts; before there are thirty bars there is no average."""
    ranges = atr(frame([100.0] * 40))
    assert np.isnan(ranges[:29]).all()
    assert ranges[29:] == pytest.approx(0.2)


@pytest.mark.parametrize(("side", "move"), [(1, 1.0), (-1, -1.0)])
def test_a_break_is_ridden_to_the_last_bar(side: int, move: float) -> None:
    """The reward is the move after costs, in units of the risk at the first stop, for either side."""
    closes = [100.0] * 40 + [100.0 + move * step for step in range(1, 31)]
    market = frame(closes)
    ranges = atr(market)
    done = trade(market, ranges, 35, PARAMS)
    entry, left = closes[40], closes[60]
    assert done.end == 60
    assert done.reward == pytest.approx((side * (left - entry) - COST * entry) / (2.0 * ranges[40]))


def test_a_stop_costs_what_was_risked() -> None:
    """A break that fails at once costs one R and the costs."""
    market = frame([100.0] * 40 + [101.0] + [95.0] * 10)
    ranges = atr(market)
    done = trade(market, ranges, 35, PARAMS)
    assert done.end == 41
    assert done.reward == pytest.approx(-1.0 - COST * 101.0 / (2.0 * ranges[40]))


def test_a_trailing_stop_keeps_what_was_made() -> None:
    """It follows the best price, never back."""
    market = frame([100.0] * 40 + [101.0, 105.0, 110.0, 104.0, 103.0] + [100.0] * 10)
    ranges = atr(market)
    done = trade(market, ranges, 35, PARAMS | {"trail_atr": 3.0})
    stop = 110.1 - 3.0 * ranges[40]
    assert done.end == 43
    assert done.reward == pytest.approx((stop - 101.0 - COST * 101.0) / (2.0 * ranges[40]))


def test_a_limit_that_is_not_met_is_no_trade() -> None:
    """The order waits three bars for the price to come back, then nothing was risked."""
    market = frame([100.0] * 40 + [101.0 + step for step in range(12)])
    done = trade(market, atr(market), 35, PARAMS | {"entry_order": "limit"})
    assert (done.reward, done.end) == (0.0, 43)


def test_the_future_does_not_tell_the_entry() -> None:
    """What comes after a trade's end changes nothing of it, and without a break there is none."""
    rising = [100.0] * 40 + [100.0 + step for step in range(1, 31)]
    market, cut = frame(rising), frame(rising[:62])
    assert trade(market, atr(market), 35, PARAMS) == trade(cut, atr(cut), 35, PARAMS)
    flat = frame([100.0] * 80)
    assert trade(flat, atr(flat), 35, PARAMS, patience=20).reward == 0.0
