"""What only the regime model promises: agreement with hmmlearn, state names, strict updates, honest failures."""

import itertools
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.libs.models.worlds import MINUTE, START, candles, market, regime_path, regime_returns
from tidewheel.contracts.errors import BadFit, BadInput, NotEnoughData, TidewheelError
from tidewheel.features.frames import Floats
from tidewheel.features.returns import WINDOW, log_returns, regime_features
from tidewheel.models.identity import STATES
from tidewheel.models.regime import RegimeModel

STREAM = "test:A/USDT:1m"


@pytest.fixture(scope="module")
def model() -> RegimeModel:
    return RegimeModel.fit({STREAM: [market(6_000, seed=1)]}, seed=42, restarts=2)


def twin(model: RegimeModel) -> Any:
    """hmmlearn's model with the same parameters."""
    from hmmlearn.hmm import GaussianHMM

    theirs = GaussianHMM(n_components=3, covariance_type="diag")
    theirs.startprob_, theirs.transmat_ = model.startprob, model.transmat
    theirs.means_, theirs.covars_ = model.means, model.covars
    return theirs


@pytest.mark.parametrize("length", [WINDOW, WINDOW + 1, 100, 2_000])
def test_last_bar_equals_hmmlearn(model: RegimeModel, length: int) -> None:
    """At the last bar nothing lies ahead, so the filtered posterior is hmmlearn's smoothed one."""
    returns = log_returns(market(length + 1, seed=9).close)
    rows = regime_features(returns, model.scale(STREAM))
    ours = model.filter(returns, stream=STREAM).probs
    assert np.abs(ours[-1] - twin(model).predict_proba(rows)[-1]).max() < 1e-12


def test_score_is_the_predictive_density(model: RegimeModel) -> None:
    """The score is ln sum_k p(s_t = k | past) N(r_t; mu_k, sigma_k) on the raw return, with the past from hmmlearn."""
    returns = log_returns(market(WINDOW + 60, seed=9).close)
    scale = model.scale(STREAM)
    rows = regime_features(returns, scale)
    found = model.filter(returns, stream=STREAM).score
    for t in range(len(rows)):
        before = twin(model).predict_proba(rows[:t])[-1] @ model.transmat if t else model.startprob
        sigma, mean = np.sqrt(model.covars[:, 0]) * scale, model.means[:, 0] * scale
        r = returns[t + WINDOW - 1]
        density = np.exp(-0.5 * ((r - mean) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        assert found[t] == pytest.approx(np.log(before @ density), abs=1e-10)


def test_em_log_likelihood_equals_hmmlearn() -> None:
    """The objective told at the end of a fit is hmmlearn's log likelihood plus the pseudo-transitions' prior."""
    told: list[Mapping[str, Any]] = []
    frame = market(3_000, seed=2)
    model = RegimeModel.fit({STREAM: [frame]}, seed=1, restarts=1, progress=told.append)
    theirs = twin(model)
    theirs.startprob_ = np.full(3, 1 / 3)
    rows = regime_features(log_returns(frame.close), model.scale(STREAM))
    expected = theirs.score(rows) + np.log(model.transmat).sum()
    assert told[-1]["done"] and told[-1]["log_likelihood"] == pytest.approx(expected, rel=1e-10)


def test_progress_tells_each_iteration_and_restart() -> None:
    """Each EM iteration is told with a growing log likelihood, each restart ends with `done`, counted from 1."""
    told: list[Mapping[str, Any]] = []
    RegimeModel.fit({STREAM: [market(3_000, seed=2)]}, seed=1, restarts=3, progress=told.append)
    assert [event["restart"] for event in told if event["done"]] == [1, 2, 3]
    assert {event["restarts"] for event in told} == {3}
    for _, events in itertools.groupby((event for event in told if not event["done"]), lambda event: event["restart"]):
        steps = list(events)
        assert [event["iteration"] for event in steps] == list(range(1, len(steps) + 1))
        assert (np.diff([event["log_likelihood"] for event in steps]) > -1e-6).all()


def test_progress_may_stop_the_fit() -> None:
    """What `progress` raises leaves the fit."""

    class Cancelled(Exception):
        pass

    def cancel(event: Mapping[str, Any]) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        RegimeModel.fit({STREAM: [market(1_000, seed=2)]}, seed=1, progress=cancel)


def test_known_regimes_are_found_and_named() -> None:
    """Where bull, bear and chop differ as clearly as here, nine of ten filtered states are the true ones."""
    path = regime_path(9_000, seed=3)
    returns = regime_returns(path, seed=3)
    model = RegimeModel.fit({STREAM: [candles(returns[:5_000])]}, seed=42)
    states = model.filter(returns[5_000:], stream=STREAM).probs.argmax(axis=1)
    assert (states == path[5_000 + WINDOW - 1 :]).mean() > 0.9


def test_names_follow_the_champion_when_volatility_doubles(model: RegimeModel) -> None:
    """A challenger from a market twice as wild keeps the champion's names, whatever order its fit gave them."""
    wild = RegimeModel.fit({STREAM: [market(6_000, seed=4, size=2e-3)]}, seed=7, restarts=2, champion=model)
    for fitted in (model, wild):
        assert [STATES[state] for state in np.argsort(fitted.means[:, 1])] == ["chop", "bull", "bear"]


def test_matching_undoes_any_renaming(model: RegimeModel) -> None:
    """A champion matched to itself under every permutation of its states is itself again, to the byte."""
    for order in itertools.permutations(range(3)):
        renamed = model.permuted(list(order))
        assert renamed.matched_to(model).to_payload() == model.to_payload()


def test_streams_of_any_size_share_states() -> None:
    """Two streams that differ only in size have different scales and, bar for bar, the same regimes."""
    returns = regime_returns(regime_path(4_000, seed=6), seed=6)
    small, large = "test:S/USDT:1m", "test:L/USDT:1m"
    model = RegimeModel.fit({small: [candles(returns * 0.1)], large: [candles(returns)]}, seed=1, restarts=2)
    assert model.scales[large] / model.scales[small] == pytest.approx(10.0, rel=1e-6)
    ours, theirs = model.filter(returns, stream=large), model.filter(returns * 0.1, stream=small)
    assert np.allclose(ours.probs, theirs.probs, atol=1e-6)
    assert np.allclose(theirs.score - ours.score, np.log(10.0), atol=1e-5)


def test_gap_equals_two_frames() -> None:
    """A frame with a hole trains the same model as its two halves handed over apart."""
    frame = market(3_000, seed=2)
    left, right = frame.take(slice(0, 1_400)), frame.take(slice(1_500, None))
    holed = frame.take(np.r_[0:1_400, 1_500:3_000])
    one, two = (RegimeModel.fit({STREAM: part}, seed=1, restarts=1) for part in ([holed], [left, right]))
    assert one.to_payload() == two.to_payload()


def _later(bars: int, seed: int, size: float = 1e-3) -> Any:
    return candles(regime_returns(regime_path(bars - 1, seed), seed, size), start=START + 10_000 * MINUTE)


def test_update_adds_the_new_bars_and_keeps_the_old(model: RegimeModel) -> None:
    """After an update the expected counts are the old ones plus one for each new row; known scales stay."""
    updated = model.update({STREAM: [_later(2_000, 8)]})
    rows = 2_000 - WINDOW
    assert updated.statistics.occupancy.sum() - model.statistics.occupancy.sum() == pytest.approx(rows)
    assert updated.statistics.transitions.sum() - model.statistics.transitions.sum() == pytest.approx(rows - 1)
    assert updated.scales == model.scales and updated.to_payload() != model.to_payload()


def test_update_is_deterministic_and_survives_saving(model: RegimeModel) -> None:
    """An update of the saved model gives the same bytes as one of the model itself."""
    loaded = RegimeModel.from_payload(model.to_payload())
    new = {STREAM: [_later(2_000, 8)]}
    assert model.update(new).to_payload() == loaded.update(new).to_payload()


def test_update_does_not_forget(model: RegimeModel) -> None:
    """Updated on a short calm stretch, a model still predicts the old market; one fitted on it alone does not."""
    calm = {STREAM: [candles(3e-4 * np.random.default_rng(1).standard_normal(1_000), start=START + 10_000 * MINUTE)]}
    old = log_returns(market(6_000, seed=1).close)
    before = model.filter(old, stream=STREAM).score.mean()
    updated = model.update(calm).filter(old, stream=STREAM).score.mean()
    alone = RegimeModel.fit(calm, seed=1, restarts=1).filter(old, stream=STREAM).score.mean()
    assert before - updated < 0.05 < before - alone


def test_update_objective_never_falls(model: RegimeModel) -> None:
    """The strict objective, new likelihood plus old statistics, rises with every iteration."""
    told: list[Mapping[str, Any]] = []
    model.update({STREAM: [_later(2_000, 8, size=2e-3)]}, progress=told.append)
    steps = [event["log_likelihood"] for event in told if not event["done"]]
    assert len(steps) > 2 and (np.diff(steps) > -1e-6).all()


def test_update_takes_new_streams_but_no_other_timeframe(model: RegimeModel) -> None:
    """A new stream brings its own scale; bars of another length are refused."""
    other = "test:B/USDT:1m"
    assert set(model.update({other: [_later(1_000, 8)]}).scales) == {STREAM, other}
    hourly = candles(regime_returns(regime_path(999, 1), 1), start=0, step=60 * MINUTE)
    with pytest.raises(BadInput, match="3600000 ms long, the model's 60000"):
        model.update({STREAM: [hourly]})


def _burst() -> Floats:
    returns = 1e-3 * np.random.default_rng(1).standard_normal(20_000)
    returns[5_000:5_060] *= 1_000.0
    return returns


@pytest.mark.parametrize(
    ("returns", "max_iter", "kind", "code"),
    [
        (np.zeros(2_000), 200, BadFit, "constant_market"),
        (regime_returns(regime_path(2_000, 1), 1), 2, BadFit, "not_converged"),
        (_burst(), 200, BadFit, "degenerate_states"),
        (regime_returns(regime_path(300, 1), 1), 200, NotEnoughData, "not_enough_data"),
    ],
)
def test_what_cannot_be_fitted_is_said(returns: Floats, max_iter: int, kind: type[TidewheelError], code: str) -> None:
    """A market that gives no usable model is an error with its own code and a sentence with numbers."""
    with pytest.raises(kind) as caught:
        RegimeModel.fit({STREAM: [candles(returns)]}, seed=1, restarts=2, max_iter=max_iter)
    assert caught.value.code == code
    assert any(character.isdigit() for character in caught.value.detail)


def test_mixed_timeframes_are_refused() -> None:
    """One model, one timeframe."""
    hourly = candles(regime_returns(regime_path(999, 1), 1), start=0, step=60 * MINUTE)
    with pytest.raises(BadInput, match="one timeframe"):
        RegimeModel.fit({STREAM: [market(1_000, 1)], "test:B/USDT:1h": [hourly]}, seed=1)


def test_too_short_a_request_has_no_regime(model: RegimeModel) -> None:
    """29 returns have no regime, and the error says how many are needed; 30 have one."""
    with pytest.raises(NotEnoughData, match="29 log returns were given; the first regime needs 30"):
        model.filter([0.001] * 29).latest()
    regime = model.filter([0.001, -0.001] * 15).latest()
    assert sum(regime.probs.values()) == pytest.approx(1.0)
    assert regime.confidence == regime.probs[regime.state] == max(regime.probs.values())


def test_unknown_stream_takes_the_default_scale(model: RegimeModel) -> None:
    """Bare log returns and unknown streams are read with the default scale."""
    returns = log_returns(market(100, 3).close)
    bare, unknown = model.filter(returns), model.filter(returns, stream="test:NEW/USDT:1m")
    assert bare.probs.tobytes() == unknown.probs.tobytes()


def test_serving_needs_numpy_only() -> None:
    """Importing the model for serving loads neither hmmlearn nor scipy nor scikit-learn."""
    code = (
        "import sys, tidewheel.models.regime, tidewheel.models.gaussian, tidewheel.gates.steps\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'hmmlearn', 'scipy', 'sklearn'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
