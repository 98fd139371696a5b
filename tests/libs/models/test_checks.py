"""The one check suite, over each model."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.libs.models.checks import CHECKS, Subject
from tests.libs.models.worlds import regime_path, regime_returns
from tidewheel.models.gaussian import GaussianModel
from tidewheel.models.regime import RegimeModel

_INDEPENDENT = 1e-3 * np.random.default_rng(5).standard_normal(4_000)
_SWITCHING = regime_returns(regime_path(8_000, seed=5), seed=5)
# N(0, 0.001) has an expected log density of -ln(0.001) - ln sqrt(2 pi e) = 5.49. On the unseen half of the switching
# world a one-state Gaussian gives 5.20, and one that knew each bar's state would give 5.64.
SUBJECTS = {
    "gaussian": Subject(lambda segments, seed: GaussianModel.fit(segments), _INDEPENDENT, 5.45),
    "regime": Subject(lambda segments, seed: RegimeModel.fit(segments, seed=seed, restarts=2), _SWITCHING, 5.5),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SUBJECTS)
def test_model(name: str, check: Callable[[Subject], None]) -> None:
    """Each check's docstring states the behaviour."""
    check(SUBJECTS[name])
