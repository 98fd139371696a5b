"""What a decision looks at, as the numbers that a policy learns with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.strategies import Feature, Fill, StrategySchema
from tidewheel.features.frames import Floats

Source = Literal["request", "regime", "default"]


class UsedFeature(TypedDict):
    """One feature as it entered; JSON as it is."""

    value: float  #: in the feature's own unit
    scaled: float  #: clip((value - center) / scale)
    source: Source  #: who told it


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """A decision's context, and where it comes from."""

    x: Floats  #: [1 + features], a leading 1, then the scaled features in the schema's order
    used: dict[str, UsedFeature]


def regime_fills(probs: Mapping[str, float]) -> dict[Fill, float]:
    """What features can be filled with, from the probabilities of bull, bear and chop."""
    bull, bear, chop = probs["bull"], probs["bear"], probs["chop"]
    return {"regime.bull": bull, "regime.bear": bear, "regime.chop": chop, "regime.trend": bull - bear}


def encode(schema: StrategySchema, given: Mapping[str, float], filled: Mapping[Fill, float]) -> Context:
    """The context of a decision: what the request gives, else what the controller fills in, else the default.

    A policy without context has x = [1]; features that it was told are checked and kept all the same, and none is
    missed.

    Args:
        schema: names, order, scaling, and what stands in for a missing feature.
        given: the request's features, each in its own unit.
        filled: of `regime_fills`; empty where the regime is not known.

    Raises:
        BadInput: a name is unknown, a number is not finite, or a feature that must be told is missing; names it.
    """
    known = [feature.name for feature in schema.context]
    for name in given:
        if name not in known:
            takes = f"takes {', '.join(known)}" if known else "takes none"
            raise _refused(name, f"{name[:80]!r} is no feature; {schema.strategy} {takes}")
    used: dict[str, UsedFeature] = {}
    for feature in schema.context:
        found = _told(feature, given, filled)
        if found is not None:
            used[feature.name] = _scaled(feature, *found)
        elif schema.contextual:
            raise _refused(feature.name, f"{feature.name} is missing; send features[{feature.name}]")
    columns = [used[name]["scaled"] for name in known] if schema.contextual else []
    return Context(np.array([1.0, *columns]), used)


def _told(feature: Feature, given: Mapping[str, float], filled: Mapping[Fill, float]) -> tuple[float, Source] | None:
    if feature.name in given:
        return given[feature.name], "request"
    if feature.fill is not None and feature.fill in filled:
        return filled[feature.fill], "regime"
    return None if feature.default is None else (feature.default, "default")


def _scaled(feature: Feature, value: float, source: Source) -> UsedFeature:
    if not math.isfinite(value):
        raise _refused(feature.name, f"{feature.name} = {value} is not a finite number")
    low, high = feature.clip
    scaled = min(max((value - feature.center) / feature.scale, low), high)
    return {"value": float(value), "scaled": float(scaled), "source": source}


def _refused(name: str, why: str) -> BadInput:
    return BadInput(why, code="bad_features", feature=name[:80])
