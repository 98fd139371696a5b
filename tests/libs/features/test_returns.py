"""Returns, volatility, scales and signatures."""

from typing import Any

import numpy as np
import pytest

from tests.libs.models.worlds import candles, market
from tidewheel.contracts.canonical import canonical_json
from tidewheel.contracts.errors import BadFit, BadInput
from tidewheel.features.returns import (
    VOLATILITY_FLOOR,
    WINDOW,
    checked_returns,
    log_returns,
    regime_features,
    regime_signature,
    robust_scale,
    segment_returns,
)
from tidewheel.features.signature import Feature, feature_signature


def test_first_feature_row_needs_31_bars() -> None:
    """30 bars give no row, 31 give one."""
    for bars, rows in ((1, 0), (30, 0), (31, 1), (100, 70)):
        assert len(regime_features(log_returns(market(max(bars, 2), 1).close[:bars]), 1e-3)) == rows


def test_features_are_what_they_say() -> None:
    """Row t holds r/scale and ln sqrt(mean square + floor²) of the 30 returns up to its own."""
    returns = log_returns(market(200, 1).close)
    found = regime_features(returns, 2e-3)
    z = returns / 2e-3
    assert np.array_equal(found[:, 0], z[WINDOW - 1 :])
    windows = np.lib.stride_tricks.sliding_window_view(z, WINDOW)
    assert np.allclose(found[:, 1], np.log(np.sqrt((windows**2).mean(axis=1) + VOLATILITY_FLOOR**2)), rtol=1e-13)


def test_an_outlier_leaves_no_trace_behind() -> None:
    """A jump of 10^9 scales changes nothing once its window has passed: no running sum carries rounding along."""
    calm = log_returns(market(300, 1).close)
    jumpy = np.concatenate([[1e6], calm])
    assert regime_features(jumpy, 1e-3)[WINDOW:].tobytes() == regime_features(calm, 1e-3)[WINDOW - 1 :].tobytes()


def test_no_return_spans_a_gap() -> None:
    """A missing bar starts a new run."""
    frame = market(100, 1)
    runs = segment_returns([frame.take(np.r_[0:40, 41:100])])
    assert [len(run) for run in runs] == [39, 58]


def test_scale_is_sigma_and_shrugs_at_outliers() -> None:
    """On Gaussian returns the scale is their sigma, also with idle bars and one percent of wild ones among them."""
    returns = 1e-3 * np.random.default_rng(0).standard_normal(20_000)
    spoilt = np.concatenate([returns, np.zeros(20_000), np.full(200, 5.0)])
    assert robust_scale("a", [returns]) == pytest.approx(1e-3, rel=0.03)
    assert robust_scale("a", [spoilt]) == pytest.approx(1e-3, rel=0.05)


def test_constant_market_is_refused_by_name() -> None:
    """A market that stands still has no scale, and the sentence names it."""
    with pytest.raises(BadFit, match="test:A/USDT:1m is a constant market: 0 of its 99 bars moved") as caught:
        robust_scale("test:A/USDT:1m", segment_returns([candles(np.zeros(99))]))
    assert caught.value.code == "constant_market"


@pytest.mark.parametrize("bad", [[0.1, float("nan")], [float("inf")], [[0.1]]])
def test_bad_returns_are_refused(bad: list[float]) -> None:
    """NaN, infinity and nested lists are bad input."""
    with pytest.raises(BadInput):
        checked_returns(bad)


def test_signature_tells_features_apart() -> None:
    """Any change of name, version, parameter, column, timeframe, window or scaling is another signature."""
    base: dict[str, Any] = {"input_columns": ["close"], "timeframe": "1m", "window": 30, "scaling": "none"}
    feature = Feature("logret", 1)
    variants = [
        feature_signature([feature], **base),
        feature_signature([Feature("logret", 2)], **base),
        feature_signature([Feature("logret", 1, {"lag": 1})], **base),
        feature_signature([feature, feature], **base),
        feature_signature([feature], **{**base, "timeframe": "5m"}),
        feature_signature([feature], **{**base, "window": 31}),
        feature_signature([feature], **{**base, "scaling": "robust"}),
        feature_signature([feature], **{**base, "input_columns": ["open"]}),
    ]
    assert len(set(variants)) == len(variants)
    assert variants[0] == feature_signature([feature], **base)
    assert regime_signature("1m") != regime_signature("5m")


def test_canonical_json_is_one_text() -> None:
    """Key order leaves no trace, and NaN has no JSON."""
    assert canonical_json({"b": 0.1, "a": [1]}) == canonical_json({"a": [1], "b": 0.1}) == b'{"a":[1],"b":0.1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})
