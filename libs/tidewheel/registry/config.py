"""What enters a registered model at each horizon: `feature_config` as the user wrote it, read and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tidewheel.contracts.errors import BadInput
from tidewheel.features import hourly

MAX_HORIZON = 8_760  #: hours: a year
MAX_HORIZONS = 64
_KEYS = frozenset({"features", "units"})
_UNITS = ("price", "relative")


class Columns(Protocol):
    """What a file tells of its input and answer: `Seen` in a trial, or loaded."""

    @property
    def features(self) -> int | None:
        """Columns that it takes; None where it does not tell."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of those; None where it does not tell."""

    @property
    def outputs(self) -> int:
        """Numbers that a row gives."""


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """The columns of each horizon's input, in order."""

    features: Mapping[int, tuple[str, ...]]  #: horizon in hours -> names
    relative: bool  #: levels as x / close - 1, changes as x / close, and a simple return comes out; else prices
    one_for_all: bool  #: the same columns whatever the horizon, and the horizon is none of them

    @classmethod
    def parse(cls, raw: Mapping[str, Any] | None, horizons: Sequence[int]) -> "FeatureConfig":
        """Read `{"features": list or {"<hours>": list}, "units": "price" or "relative"}`; None means the base features.

        Raises:
            BadInput: `unknown_feature`; `feature_mismatch`, the horizons of the map are not the model's; or it is
                of another form.
        """
        config = dict(raw or {})
        odd = sorted(config.keys() - _KEYS)
        if odd:
            raise BadInput(f"feature_config has {odd[0]!r}; it may have {' and '.join(sorted(_KEYS))}")
        units = config.get("units", "price")
        if units not in _UNITS:
            raise BadInput(f"feature_config.units is {units!r}; write {' or '.join(_UNITS)}")
        features = config.get("features", list(hourly.BASE))
        if isinstance(features, Mapping):
            named = _by_horizon(features, horizons)
        else:
            named = dict.fromkeys(horizons, _names(features))
        blind = not isinstance(features, Mapping) and "horizon" not in next(iter(named.values()))
        return cls(named, units == "relative", blind)

    def require_fit(self, model: Columns) -> None:
        """One file answers at every horizon, from columns of these names in this order.

        Raises:
            BadInput: `feature_mismatch`: another number of features or outputs, or other names; says both sides.
        """
        named = sorted({len(names) for names in self.features.values()})
        if len(named) > 1:
            raise _mismatch(
                f"feature_config names {' and '.join(map(str, named))} features at different horizons, and one file "
                "takes one number of them; register a file for each, or name equally many"
            )
        for hours, names in self.features.items():
            if model.names not in (None, names):
                raise _mismatch(
                    f"the file's columns are {', '.join(model.names or ())[:1_000]}, and feature_config (by default "
                    f"the base features) names {', '.join(names)} at {hours} h; name them as the file does and in its "
                    "order, or save the model without names"
                )
        if model.features not in (None, *named):
            raise _mismatch(
                f"the model wants {model.features} features and feature_config names {named[0]}; name as many, in the "
                "order of its training"
            )
        if model.outputs not in (1, len(self.features)):
            raise _mismatch(
                f"the model answers {model.outputs} numbers a row; one is needed, or one for each of its "
                f"{len(self.features)} horizons"
            )

    def signatures(self) -> dict[int, str]:
        """Feature signature of each horizon."""
        return {hours: hourly.signature(names, relative=self.relative) for hours, names in self.features.items()}


def horizons_of(raw: Sequence[int]) -> tuple[int, ...]:
    """The horizons in the order sent, which is that of a model's outputs.

    Raises:
        BadInput: none, too many, one twice, or one that is no number of hours from 1 to a year.
    """
    odd = next((each for each in raw if type(each) is not int or not 1 <= each <= MAX_HORIZON), None)
    if odd is not None:
        raise BadInput(f"prediction_horizons has {odd!r}; a horizon is 1 to {MAX_HORIZON} whole hours")
    if not 1 <= len(raw) <= MAX_HORIZONS or len(set(raw)) < len(raw):
        raise BadInput(f"prediction_horizons {list(raw)[:MAX_HORIZONS]} are not 1 to {MAX_HORIZONS} different hours")
    return tuple(raw)


def _by_horizon(features: Mapping[str, Any], horizons: Sequence[int]) -> dict[int, tuple[str, ...]]:
    wanted = {str(hours) for hours in horizons}
    if features.keys() != wanted:
        raise BadInput(
            f"feature_config.features names the horizons {', '.join(map(str, features)) or 'none'}; "
            f"the model's are {', '.join(map(str, horizons))}",
            code="feature_mismatch",
        )
    return {hours: _names(features[str(hours)]) for hours in horizons}


def _names(features: Any) -> tuple[str, ...]:
    if not isinstance(features, list) or not features or not all(isinstance(name, str) for name in features):
        raise BadInput("feature_config.features is not a list of names, nor a map of horizon to such a list")
    if len(set(features)) < len(features):
        raise BadInput("feature_config.features names a feature twice")
    hourly.lookback(features)
    return tuple(features)


def _mismatch(detail: str) -> BadInput:
    return BadInput(detail, code="feature_mismatch")
