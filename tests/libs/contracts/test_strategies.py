"""A strategy's schema."""

from typing import Any

import pytest
from pydantic import ValidationError

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.strategies import StrategySchema

ENTRY = {"type": "choice", "choices": ["market", "limit"], "description": "How it enters."}


def schema(**changes: Any) -> StrategySchema:
    """A small strategy, with some of its members replaced."""
    members: dict[str, Any] = {
        "strategy": "breakout",
        "description": "Buys a break of the highest close.",
        "parameters": {
            "lookback": {"type": "int", "unit": "bars", "min": 10, "max": 240, "description": "Bars looked back on."},
            "stop": {"type": "float", "unit": "ATR", "min": 0.5, "max": 5, "description": "Distance of the stop."},
            "trail": {"type": "bool", "description": "Whether the stop follows."},
            "entry": ENTRY,
        },
        "presets": [
            {"id": "fast", "description": "Quick.", "params": params(lookback=20)},
            {"id": "slow", "description": "Patient.", "params": params(lookback=120)},
        ],
        "default_preset": "slow",
        "context": [{"name": "vol", "description": "Volatility.", "unit": "ratio", "missing": "refuse"}],
        "reward": {"unit": "bps", "clip": [-50, 50], "absurd": 1000, "settle_within": 3600, "default": 0},
        "guardrails": {"changes_per_day": 4},
    }
    return StrategySchema.model_validate(members | changes)


def params(**changes: Any) -> dict[str, Any]:
    """A safe parameter set, with some changed."""
    return {"lookback": 20, "stop": 2, "trail": True, "entry": "market"} | changes


def test_params_come_back_in_their_own_types_and_order() -> None:
    """Equal content has one form, however a client spells its numbers."""
    checked = schema().check_params(dict(reversed(params(lookback=20.0).items())))
    assert list(checked.items()) == [("lookback", 20), ("stop", 2.0), ("trail", True), ("entry", "market")]
    assert [type(value) for value in checked.values()] == [int, float, bool, str]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lookback": 9}, "parameter lookback = 9 is outside 10 to 240 bars"),
        ({"lookback": 241}, "parameter lookback = 241 is outside 10 to 240 bars"),
        ({"lookback": 20.5}, "parameter lookback = 20.5 is not a whole number"),
        ({"lookback": True}, "parameter lookback = True is not a finite number"),
        ({"lookback": "20"}, "parameter lookback = '20' is not a finite number"),
        ({"stop": float("nan")}, "parameter stop = nan is not a finite number"),
        ({"stop": 10**400}, "is outside 0.5 to 5 ATR"),
        ({"trail": 1}, "parameter trail = 1 is neither true nor false"),
        ({"entry": "stop"}, "parameter entry = 'stop' is none of market, limit"),
        ({"size": 3}, "'size' is no parameter; breakout takes lookback, stop, trail, entry"),
    ],
)
def test_unsafe_params_are_refused_with_the_bound(changes: dict[str, Any], sentence: str) -> None:
    """What is outside the menu names itself and what would be inside."""
    with pytest.raises(BadInput) as refused:
        schema().check_params(params(**changes))
    assert sentence in refused.value.detail
    assert refused.value.extra["parameter"] in {*changes}


def test_a_missing_parameter_is_named() -> None:
    """Nothing is filled in."""
    with pytest.raises(BadInput, match="entry is missing"):
        schema().check_params({name: value for name, value in params().items() if name != "entry"})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"default_preset": "none"}, "default_preset none is none of the presets fast, slow"),
        ({"presets": [{"id": "slow", "description": "x", "params": params(stop=9)}]}, "outside 0.5 to 5 ATR"),
        ({"context": [{"name": "vol", "description": "x", "unit": "", "missing": "refuse"}] * 2}, "vol stands more"),
        ({"context": [{"name": "vol", "description": "x", "unit": "", "missing": "default"}]}, "`default` belongs"),
        ({"parameters": {"a": {"type": "int", "description": "x", "min": 1}}}, "needs min and max"),
        ({"parameters": {"a": {"type": "float", "description": "x", "min": 2, "max": 1}}}, "must be below"),
        ({"parameters": {"a": {"type": "bool", "description": "x", "max": 1}}}, "has no min and max"),
        ({"parameters": {"a": {"type": "choice", "description": "x"}}}, "choices belong"),
        (
            {"reward": {"unit": "bps", "clip": [-9, 9], "absurd": 5, "settle_within": 1, "default": 0}},
            "beyond absurd",
        ),
        (
            {"reward": {"unit": "bps", "clip": [-9, 9], "absurd": 10, "settle_within": 1, "default": 10}},
            "outside clip",
        ),
        (
            {"reward": {"unit": "bps", "clip": [-9, 1e200], "absurd": 1e200, "settle_within": 1, "default": 0}},
            r"reward\.clip\.1\n  Input should be less than or equal to 1000000000000",
        ),
        ({"policy": {"ridge": 1e-300}}, r"policy\.ridge\n  Input should be greater than or equal to 0.000000000001"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(changes: dict[str, Any], sentence: str) -> None:
    """The start stops with a sentence that names the place."""
    with pytest.raises(ValidationError, match=sentence):
        schema(**changes)


def test_the_policy_version_names_all_that_changes_picks() -> None:
    """A change of scaling, guardrails, bounds, reward or policy is another version; of a description it is not."""
    known = schema()
    assert known.policy_version.startswith("lints-")
    assert schema(description="Other words.").policy_version == known.policy_version
    changed = [
        schema(guardrails={"changes_per_day": 5}),
        schema(policy={"exploration": 2.0}),
        schema(context=[{"name": "vol", "description": "x", "unit": "", "scale": 2, "missing": "refuse"}]),
        schema(reward={"unit": "bps", "clip": [-5, 50], "absurd": 1000, "settle_within": 3600, "default": 0}),
        schema(default_preset="fast"),
        schema(parameters={**known.model_dump()["parameters"], "entry": {**ENTRY, "choices": ["market", "peg"]}}),
    ]
    assert len({each.policy_version for each in [known, *changed]}) == 7


def test_the_context_signature_is_of_the_numbers_meaning() -> None:
    """Scaling changes it, a description does not; without context there is one signature for all."""
    feature = {"name": "vol", "description": "Volatility.", "unit": "ratio", "missing": "refuse"}
    known = schema().context_signature
    assert schema(context=[feature | {"description": "Other words."}]).context_signature == known
    assert schema(context=[feature | {"scale": 2.0}]).context_signature != known
    plain = {"policy": {"name": "thompson"}}
    assert schema(**plain).context_signature == schema(**plain, context=[]).context_signature != known
