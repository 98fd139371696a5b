"""Split conformal intervals."""

import math

import numpy as np
import pytest

from tidewheel.contracts.errors import BadInput
from tidewheel.models.conformal import Conformal, Coverage


def test_half_width_is_the_corrected_quantile() -> None:
    """Of 19 residuals the 18th smallest bounds 90 % (20 x 0.9), of 20 the 19th (21 x 0.9 = 18.9), of 9 the largest."""
    sizes = np.arange(1.0, 21.0)
    signs = np.where(np.arange(20) % 2, -1.0, 1.0)
    for n, half_width in ((9, 9.0), (18, 18.0), (19, 18.0), (20, 19.0)):
        shuffled = np.random.default_rng(n).permutation((sizes * signs)[:n])
        assert Conformal.of(shuffled) == Conformal(0.9, half_width, n)
    assert Conformal.of(sizes[:9], level=0.7).half_width == 7.0  # 0.7 * 10 is a little over 7 in floats


def test_too_few_residuals_give_no_interval_but_a_reason() -> None:
    """Eight residuals cannot bound 90 %: no half width, no bounds, and how many are needed."""
    few = Conformal.of(np.ones(8))
    assert (few.half_width, few.around(100.0, 100.0)) == (None, None)
    assert few.why == "8 residuals are known; an interval of level 0.9 needs 9"
    assert Conformal.of(np.zeros(0), 0.99).why == "0 residuals are known; an interval of level 0.99 needs 99"
    assert Conformal.of(np.ones(9)).why is None


def test_bounds_are_relative_to_the_price() -> None:
    """A half width of 2 % around a forecast of 105, made at a price of 100, is 103 to 107."""
    assert Conformal(0.9, 0.02, 50).around(105.0, 100.0) == (103.0, 107.0)


@pytest.mark.parametrize(("n", "level"), [(9, 0.9), (10, 0.9), (50, 0.9), (10, 0.5)])
def test_coverage_is_the_promised_one(n: int, level: float) -> None:
    """Exchangeable residuals, 2,000 draws: the next one is inside as often as the theorem says, within 4 sigma."""
    draws = 2_000
    residuals = np.random.default_rng(1).standard_t(2, size=(draws, n + 1))  # heavy tails: no law is assumed
    widths = np.array([Conformal.of(row[:n], level).half_width for row in residuals])

    found = Coverage.of(np.abs(residuals[:, n]) <= widths)

    promised = math.ceil((n + 1) * level) / (n + 1)
    assert found.n == draws and found.share is not None
    assert abs(found.share - promised) < 4 * math.sqrt(promised * (1 - promised) / draws)


def test_nothing_measured_is_not_zero() -> None:
    """Without an outcome the coverage is unknown."""
    assert Coverage.of(np.zeros(0, bool)) == Coverage(None, 0)
    assert Coverage.of(np.array([True, True, False, True])) == Coverage(0.75, 4)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, math.nan])
def test_impossible_levels_are_refused(level: float) -> None:
    """A level is a probability short of certainty."""
    with pytest.raises(BadInput, match="is not possible"):
        Conformal.of(np.ones(20), level)


@pytest.mark.parametrize("bad", [[math.nan], [math.inf], [[1.0]]])
def test_odd_residuals_are_refused(bad: list[float]) -> None:
    """A residual that is no number would sort to the end and widen nothing."""
    with pytest.raises(BadInput, match="finite residuals"):
        Conformal.of(np.array(bad))
