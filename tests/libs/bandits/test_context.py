"""Contexts: what the request, the regime and the schema make of a decision's features."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import tidewheel.bandits
from tidewheel.bandits.context import encode, regime_fills
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.strategies import StrategySchema

REGIME = regime_fills({"bull": 0.7, "bear": 0.1, "chop": 0.2})


def schema(policy: str = "lints") -> StrategySchema:
    feature = {"description": "d", "unit": "u"}
    return StrategySchema.model_validate(
        {
            "strategy": "trend",
            "description": "d",
            "parameters": {"window": {"type": "int", "description": "d", "min": 1, "max": 9}},
            "presets": [{"id": "slow", "description": "d", "params": {"window": 9}}],
            "default_preset": "slow",
            "context": [
                {**feature, "name": "vol", "center": 0.2, "scale": 0.1, "clip": [-2, 2], "missing": "refuse"},
                {**feature, "name": "trend", "missing": "default", "default": 0.5, "fill": "regime.trend"},
                {**feature, "name": "spread", "missing": "default", "default": 1.0, "scale": 2.0},
            ],
            "reward": {"unit": "bps", "clip": [-5, 5], "absurd": 50, "settle_within": 60, "default": 0},
            "guardrails": {"changes_per_day": 4},
            "policy": {"name": policy},
        }
    )


def test_order_scaling_and_source() -> None:
    """Features stand in the schema's order, centred, scaled and clipped, each with who told it."""
    found = encode(schema(), {"spread": 3.0, "vol": 0.3}, REGIME)

    np.testing.assert_allclose(found.x, [1.0, 1.0, 0.6, 1.5], rtol=1e-12)
    assert [used["source"] for used in found.used.values()] == ["request", "regime", "request"]
    assert list(found.used) == ["vol", "trend", "spread"]
    assert found.used["vol"]["value"] == 0.3
    assert encode(schema(), {"vol": 9.0}, {}).x.tolist() == [1.0, 2.0, 0.5, 0.5]  # clipped; defaults


def test_the_request_comes_first() -> None:
    """What the request says is neither filled in nor defaulted; without a regime the default stands in, and says so."""
    assert encode(schema(), {"vol": 0.2, "trend": -1.0}, REGIME).used["trend"]["source"] == "request"
    assert encode(schema(), {"vol": 0.2}, {}).used["trend"]["source"] == "default"


@pytest.mark.parametrize(
    ("given", "name", "why"),
    [
        ({}, "vol", "vol is missing"),
        ({"vol": np.nan}, "vol", "vol = nan is not a finite number"),
        ({"vol": 0.1, "spread": np.inf}, "spread", "spread = inf"),
        ({"vol": 0.1, "volume": 1.0}, "volume", "'volume' is no feature; trend takes vol, trend, spread"),
    ],
)
def test_what_cannot_be_meant_is_named(given: dict[str, float], name: str, why: str) -> None:
    """An unknown, missing or endless feature is refused by its name."""
    with pytest.raises(BadInput, match=why) as refused:
        encode(schema(), given, REGIME)
    assert (refused.value.code, refused.value.extra["feature"]) == ("bad_features", name)


def test_without_context_only_the_constant_enters() -> None:
    """Thompson sampling sees [1]; what it is told is kept, what it is not told is not missed, nonsense is refused."""
    found = encode(schema("thompson"), {"spread": 3.0}, {})

    assert found.x.tolist() == [1.0]
    assert found.used["spread"] == {"value": 3.0, "scaled": 1.5, "source": "request"}
    with pytest.raises(BadInput, match="nan"):
        encode(schema("thompson"), {"spread": np.nan}, {})


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(tidewheel.bandits.__path__)])
def test_examples_run(name: str) -> None:
    """The examples in the docstrings give what they say."""
    assert doctest.testmod(importlib.import_module(f"tidewheel.bandits.{name}")).failed == 0
