"""Intervals as they are told."""

import numpy as np
import pytest

from tidewheel.contracts.errors import BadModel
from tidewheel.contracts.states import IntervalSource
from tidewheel.models.conformal import Conformal
from tidewheel.registry.forecasting import interval, prices_of


def test_an_interval_without_a_scale_is_none_and_says_so() -> None:
    """What the width is proportional to is not known now: no bounds, source none, and why; with it there are both."""
    band = Conformal(0.9, 2.0, 50)

    told = interval(105.0, 1.5, band, [], 0.9)
    assert (told.lower, told.upper, told.source, told.why) == (102.0, 108.0, IntervalSource.CALIBRATION, None)
    none = interval(105.0, np.nan, band, [], 0.9)
    assert (none.lower, none.upper, none.source, none.n) == (None, None, IntervalSource.NONE, 50)
    assert none.why is not None and "volatility of the last 24 hours" in none.why
    few = interval(105.0, 100.0, None, [], 0.9)
    assert few.why == "0 residuals are known; an interval of level 0.9 needs 9"


@pytest.mark.parametrize("answer", [np.nan, np.inf, 1e308, -1e308, 1.2e14])
def test_an_answer_that_no_price_can_be_is_refused(answer: float) -> None:
    """Too far from the price to be squared, or no number at all: a model that says so is asked for other units."""
    close = np.array([100.0, 1e-8])

    assert prices_of(np.array([0.5, -1.0]), close, relative=True).tolist() == [150.0, 0.0]
    assert prices_of(np.array([99.0, 2e-8]), close, relative=False).tolist() == [99.0, 2e-8]
    for relative in (True, False):
        with pytest.raises(BadModel, match=r"at a price of 100\.0, which cannot be meant; .*units of its training"):
            prices_of(np.array([answer, 1e-8]), close, relative=relative)
