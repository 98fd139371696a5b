"""Intervals as they are told."""

import numpy as np

from tidewheel.contracts.states import IntervalSource
from tidewheel.models.conformal import Conformal
from tidewheel.registry.forecasting import interval


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
