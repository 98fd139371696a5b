"""P2: the regime of one new bar, ours beside hmmlearn's posterior over the last 1,440 bars."""

from typing import Any

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM

from tidewheel.features.returns import WINDOW, regime_features
from tidewheel.market.sim.scenario import demo
from tidewheel.models.regime import RegimeModel

BARS = 1_440


@pytest.fixture(scope="module")
def model() -> RegimeModel:
    """Fitted on two days of the demo's market."""
    frames = {series.symbol: [series.frame.take(slice(0, 2 * BARS))] for series in demo(1).series}
    return RegimeModel.fit(frames, seed=1, restarts=1)


@pytest.fixture(scope="module")
def returns() -> Any:
    """Log returns of one further stretch."""
    close = demo(2).series[0].frame.close[: BARS + WINDOW]
    return np.diff(np.log(close))


@pytest.mark.benchmark(group="regime of one new bar")
def test_tidewheel_filter_step(benchmark: Any, model: RegimeModel, returns: Any) -> None:
    """One step of the forward filter from the state before it."""
    state = model.filter(returns[:-1]).state
    last = [float(returns[-1])]

    found = benchmark(lambda: model.filter(last, state=state))

    np.testing.assert_allclose(found.probs[-1], model.filter(returns).probs[-1], atol=1e-12)


@pytest.mark.benchmark(group="regime of one new bar")
def test_hmmlearn_predict_proba(benchmark: Any, model: RegimeModel, returns: Any) -> None:
    """The posterior at the last of 1,440 bars, by the reference library."""
    peer = GaussianHMM(n_components=3, covariance_type="diag")
    peer.startprob_, peer.transmat_ = model.startprob, model.transmat
    peer.means_, peer.covars_, peer.n_features = model.means, model.covars, 2
    rows = regime_features(returns, model.default_scale)

    found = benchmark(lambda: peer.predict_proba(rows)[-1])

    np.testing.assert_allclose(found, model.filter(returns).probs[-1], atol=1e-12)
