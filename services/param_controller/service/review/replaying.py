"""Every logged decision, derived again: the same dice on the same knowledge must pick the same preset."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose

import numpy as np

from services.param_controller.service.deciding import choice
from services.param_controller.service.review.retrace import Moment, retrace
from services.param_controller.service.schema_files import Schemas
from tidewheel.bandits.context import Context
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import Reason
from tidewheel.contracts.strategies import StrategySchema
from tidewheel.ledger.control.records import Choice, Decision, KillSwitch, Preset, Standing
from tidewheel.ledger.open import Ledger

_SAME = 1e-9  #: relative difference of propensities that is none
_DRAWN = frozenset({Reason.EXPLORED, Reason.EXPLOITED, Reason.HELD_BY_HYSTERESIS, Reason.FIXED})


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that does not follow from the log."""

    config_id: str
    number: int
    logged: str
    derived: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of deriving decisions again."""

    same: int
    other_policy: int  #: made by another policy_version than the schema in force has; not derived
    unusable: int  #: made while a posterior could not be read, of which the log knows no more; not derived
    missing: int  #: numbers between the first and the last decision that no row bears
    differences: tuple[Difference, ...]

    @property
    def whole(self) -> bool:
        """Whether every decision is there, and follows from the log as far as it can be derived."""
        return not self.differences and not self.missing


def replay(ledger: Ledger, schemas: Schemas, key: PairKey, newest: int | None = None) -> Replayed:
    """Derive the pair's `newest` decisions again, or all of them.

    That a kill switch stood is taken from the log; what followed from it is derived like everything else.

    Raises:
        NotFound: the strategy has no schema, or nothing was ever registered for the pair.
    """
    schema, presets = schemas.get(key.strategy), ledger.presets.of(key)
    first = 1 if newest is None else ledger.presets.pair(key).decisions - newest + 1
    same = other_policy = unusable = missing = 0
    differences: list[Difference] = []
    for moment in retrace(ledger, key):
        logged = moment.logged.decision
        if logged.number < first:
            continue
        if moment.before is not None:
            missing += logged.number - moment.before.number - 1
        if logged.policy_version != schema.policy_version:
            other_policy += 1
        elif logged.reason is Reason.POSTERIOR_UNUSABLE:
            unusable += 1
        else:
            derived = _derive(schema, moment, presets)
            if _agree(logged, derived):
                same += 1
            else:
                differences.append(
                    Difference(
                        str(logged.config_id),
                        logged.number,
                        _told(logged.preset_id, logged.reason, logged.propensities),
                        _told(derived.preset_id, derived.reason, derived.propensities),
                    )
                )
    return Replayed(same, other_policy, unusable, missing, tuple(differences))


def _derive(schema: StrategySchema, moment: Moment, presets: list[Preset]) -> Choice:
    logged = moment.logged.decision
    by_id = {preset.preset_id: preset for preset in presets}
    standing = Standing(
        key=logged.key,
        number=logged.number,
        now=logged.decided_at,
        day=moment.day,
        changes=moment.changes,
        incumbent=None if moment.before is None else by_id[moment.before.preset_id],
        presets=tuple(_live(logged, presets)),
        learnt=logged.learnt,
        frozen=_switch(logged) if logged.reason is Reason.KILL_SWITCH else None,
        signature=logged.signature,
        learned=moment.learned,
    )
    return choice(schema, Context(np.array(logged.context), {}), logged.features_used, standing)


def _live(logged: Decision, presets: list[Preset]) -> list[Preset]:
    """The presets among which it was decided: a drawn decision names all of them, of others the times tell."""
    if logged.reason in _DRAWN:
        return [preset for preset in presets if preset.preset_id in logged.propensities]
    at = logged.decided_at
    return [
        preset
        for preset in presets
        if preset.preset_id in logged.propensities
        or (preset.created_at <= at and (preset.retired_at is None or preset.retired_at > at))
    ]


def _switch(logged: Decision) -> KillSwitch:
    return KillSwitch(
        scope=str(logged.key), tripped_at=logged.decided_at, tripped_by="log", reason="the log says so", cause="replay"
    )


def _agree(logged: Decision, derived: Choice) -> bool:
    told, found = logged.propensities, derived.propensities
    return (
        (logged.preset_id, logged.reason) == (derived.preset_id, derived.reason)
        and told.keys() == found.keys()
        and all(isclose(told[name], found[name], rel_tol=_SAME, abs_tol=1e-15) for name in told)
    )


def _told(preset_id: str, reason: Reason, propensities: Mapping[str, float]) -> str:
    return f"{preset_id} ({reason}, propensity {propensities[preset_id]:.9g})"
