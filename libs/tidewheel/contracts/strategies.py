"""A strategy's schema: which parameters it has, what is safe, what it looks at, and how its reward is counted.

A decision is made in units that the schema defines once: a context feature enters as
`clip((value - center) / scale, low, high)`, a reward as `clip(reward, low, high)`.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tidewheel.contracts.canonical import digest_of
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.keys import preset_id
from tidewheel.contracts.states import PolicyName

Value = bool | int | float | str  #: of a parameter
Fill = Literal["regime.bull", "regime.bear", "regime.chop", "regime.trend"]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=400)]


def _preset_name(text: str) -> str:
    try:
        return preset_id(text)
    except BadInput as bad:
        raise ValueError(bad.detail) from None


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    if not span[0] < span[1]:
        raise ValueError(f"the first of [{span[0]}, {span[1]}] must be below the second")
    return span


PresetId = Annotated[str, AfterValidator(_preset_name)]
_Size = Annotated[float, Field(ge=-1e12, le=1e12)]  #: squares and sums of it stay far from the end of float64
Span = Annotated[tuple[_Size, _Size], AfterValidator(_ordered)]


class MisfitError(ValueError):
    """Members of a schema that do not fit together; `place` leads to the one to mend."""

    def __init__(self, place: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.place = place


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Parameter(_Part):
    """One parameter of a strategy and what is safe for it."""

    type: Literal["int", "float", "bool", "choice"]
    description: _Text
    unit: str = Field("", max_length=40, description="What a number counts, such as bars, bps or ATR.")
    min: float | None = Field(None, description="Least safe value; required of int and float.")
    max: float | None = Field(None, description="Greatest safe value; required of int and float.")
    choices: tuple[str, ...] = Field((), description="Safe words; required of choice.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.type in ("int", "float"):
            if self.min is None or self.max is None:
                raise ValueError(f"a parameter of type {self.type} needs min and max")
            _ordered((self.min, self.max))
        elif self.min is not None or self.max is not None:
            raise ValueError(f"a parameter of type {self.type} has no min and max")
        if (self.type == "choice") != bool(self.choices):
            raise ValueError("choices belong to the type choice, and it needs them")
        return self

    def check(self, name: str, value: object) -> Value:
        """`value` in the parameter's own type.

        Raises:
            BadInput: it is of another type or out of bounds; names both.
        """
        if self.type == "choice":
            if not isinstance(value, str) or value not in self.choices:
                raise _refused(name, value, f"is none of {', '.join(self.choices)}", choices=self.choices)
            return value
        if self.type == "bool":
            if not isinstance(value, bool):
                raise _refused(name, value, "is neither true nor false")
            return value
        # A parameter of type int or float has both bounds.
        low, high = self.min or 0.0, self.max or 0.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
            raise _refused(name, value, "is not a finite number")
        if self.type == "int" and value != int(value):
            raise _refused(name, value, "is not a whole number")
        if not low <= value <= high:
            unit = f" {self.unit}" if self.unit else ""
            raise _refused(name, value, f"is outside {low:g} to {high:g}{unit}", bounds=[low, high])
        return int(value) if self.type == "int" else float(value)


def _refused(name: str, value: object, why: str, **extra: Any) -> BadInput:
    shown = repr(value)[:80]
    return BadInput(f"parameter {name} = {shown} {why}", code="out_of_bounds", parameter=name, **extra)


class SafePreset(_Part):
    """A parameter set that the strategy's author vouches for."""

    id: PresetId
    description: _Text
    params: dict[str, Any]


class Feature(_Part):
    """One number that a decision looks at."""

    name: _Name
    description: _Text
    unit: str = Field(max_length=40)
    center: float = Field(0.0, description="Value that counts as usual.")
    scale: float = Field(1.0, gt=0, description="Distance from the centre that counts as one.")
    clip: Span = Field((-3.0, 3.0), description="Bounds of the scaled value.")
    missing: Literal["refuse", "default"] = Field(description="What happens when nobody sends it.")
    default: float | None = Field(None, description="Stands in, marked as default, where `missing: default`.")
    fill: Fill | None = Field(None, description="What the controller fills in by itself, where the request is silent.")

    @model_validator(mode="after")
    def _stand_in(self) -> Self:
        if (self.missing == "default") != (self.default is not None):
            raise ValueError("`default` belongs to `missing: default`, which needs it")
        return self


class Reward(_Part):
    """How an outcome is counted."""

    unit: str = Field(min_length=1, max_length=40, description="Such as bps of notional after costs.")
    clip: Span = Field(description="Bounds of what is learnt; the ledger keeps the reward as it was sent.")
    absurd: float = Field(gt=0, le=1e12, description="A reward beyond plus or minus this is a mistake, and refused.")
    settle_within: int = Field(ge=1, le=366 * 86_400, description="Seconds a decision waits for its outcome.")
    default: float = Field(description="What a decision counts as whose outcome never came.")

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if max(map(abs, self.clip)) > self.absurd:
            raise ValueError(f"clip {list(self.clip)} reaches beyond absurd = {self.absurd:g}")
        if not self.clip[0] <= self.default <= self.clip[1]:
            raise ValueError(f"default = {self.default:g} is outside clip {list(self.clip)}")
        return self


class Guardrails(_Part):
    """What holds whatever the policy would like."""

    changes_per_day: int = Field(ge=0, description="Preset changes per instrument and UTC day.")
    hysteresis: float = Field(0.0, ge=0, description="Reward by which another preset must beat the one in use.")
    max_key_share: float = Field(1.0, gt=0, le=1, description="Most of the learnt outcomes that one API key may tell.")
    max_drawdown: float | None = Field(
        None, gt=0, description="Fall of the summed reward below its peak that trips the kill switch; null: never."
    )


class PolicySpec(_Part):
    """How a preset is picked, and how fast what was learnt fades."""

    name: PolicyName = PolicyName.LINTS
    exploration: float = Field(
        1.0, ge=0, le=1e12, description="v: standard deviations of a reward; wider explores more."
    )
    ridge: float = Field(1.0, ge=1e-12, le=1e12, description="Weight of the prior, in outcomes.")
    epsilon: float = Field(0.1, ge=0, le=1, description="Share of random picks of epsilon_greedy.")
    half_life_days: float | None = Field(None, gt=0, description="After which an outcome weighs half; null: for ever.")
    seed: int = Field(42, ge=0, lt=2**63, description="Of all draws; the same seed and log give the same picks.")

    @property
    def half_life_ms(self) -> int | None:
        """The half life in whole milliseconds."""
        return None if self.half_life_days is None else max(1, round(self.half_life_days * 86_400_000))


class StrategySchema(_Part):
    """One file of `strategy_schemas/`."""

    strategy: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]
    description: _Text
    parameters: dict[_Name, Parameter] = Field(min_length=1, max_length=64)
    presets: tuple[SafePreset, ...] = Field(min_length=1, max_length=64)
    default_preset: PresetId = Field(description="Served where the policy cannot choose.")
    context: tuple[Feature, ...] = Field((), max_length=32)
    reward: Reward
    guardrails: Guardrails
    policy: PolicySpec = PolicySpec()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        ids = [preset.id for preset in self.presets]
        names = [feature.name for feature in self.context]
        for member, words in (("presets", ids), ("context", names)):
            for place, word in enumerate(words):
                if word in words[:place]:
                    raise MisfitError((member, place), f"{word} stands more than once")
        if self.default_preset not in ids:
            told = f"default_preset {self.default_preset} is none of the presets {', '.join(ids)}"
            raise MisfitError(("default_preset",), told)
        for place, preset in enumerate(self.presets):
            try:
                self.check_params(preset.params)
            except BadInput as bad:
                at = ("presets", place, "params", str(bad.extra["parameter"]))
                raise MisfitError(at, f"preset {preset.id}: {bad.detail}") from None
        return self

    def check_params(self, params: Mapping[str, object]) -> dict[str, Value]:
        """`params` in their own types and in the schema's order.

        Raises:
            BadInput: one is unknown, missing, of another type or out of bounds; names it and the bound.
        """
        unknown = sorted(set(params) - set(self.parameters))
        missing = [name for name in self.parameters if name not in params]
        if unknown or missing:
            told = [f"{name!r} is no parameter" for name in unknown] + [f"{name} is missing" for name in missing]
            known = ", ".join(self.parameters)
            raise BadInput(
                f"{'; '.join(told)}; {self.strategy} takes {known}",
                code="wrong_parameters",
                parameter=(unknown + missing)[0],
            )
        return {name: parameter.check(name, params[name]) for name, parameter in self.parameters.items()}

    def forbids(self, params: Mapping[str, object]) -> str | None:
        """Why `params`, which an earlier schema may have allowed, cannot be served now; None where they can."""
        try:
            self.check_params(params)
        except BadInput as bad:
            return bad.detail
        return None

    @cached_property
    def contextual(self) -> bool:
        """Whether outcomes are learnt with the features; Thompson sampling without context sees the constant alone."""
        return self.policy.name is not PolicyName.THOMPSON

    @cached_property
    def context_signature(self) -> str:
        """Digest of what the numbers of a context mean; what was learnt of others is not comparable."""
        columns = self.context if self.contextual else ()
        return digest_of([feature.model_dump(include={"name", "center", "scale", "clip"}) for feature in columns])

    @cached_property
    def policy_version(self) -> str:
        """The policy and all that changes its picks, bounds included, such as `lints-1a2b3c4d`."""
        parts = self.model_dump(
            mode="json",
            include={
                **dict.fromkeys(("policy", "context", "guardrails", "reward", "default_preset"), True),
                "parameters": {"__all__": {"type", "min", "max", "choices"}},
            },
        )
        return f"{self.policy.name}-{digest_of(parts)[:8]}"
