"""Which preset an engine should use now: the guardrails first, then the policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from services.param_controller.service.group_commit import in_place
from services.param_controller.service.regimes import CurrentRegimes
from services.param_controller.service.schema_files import Schemas
from tidewheel.bandits.context import Context, encode, regime_fills
from tidewheel.bandits.draws import draws
from tidewheel.bandits.policies import Pick, choose
from tidewheel.contracts.errors import Conflict, NotFound, PosteriorUnusable, TidewheelError
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.contracts.states import PolicyName, Reason
from tidewheel.contracts.strategies import PolicySpec, StrategySchema
from tidewheel.kit.logs import logger
from tidewheel.kit.metrics import DECISIONS
from tidewheel.ledger.control.records import Asked, Choice, Decision, Standing
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Json

_log = logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What an engine asks before an order."""

    key: PairKey
    actor: str
    features: Mapping[str, float] = field(default_factory=dict)  #: each in its own unit


class Deciding:
    """Answers questions for a preset; every answer is a row of the ledger before it leaves."""

    def __init__(self, ledger: Ledger, schemas: Schemas, regimes: CurrentRegimes) -> None:
        self._ledger, self._schemas, self._regimes = ledger, schemas, regimes

    def decide(self, questions: Sequence[Question]) -> list[Decision | TidewheelError]:
        """Answer all questions in one transaction, each in its place.

        A question's answer is one of these errors where it cannot be answered:

        - NotFound: `unknown_strategy`, or `unknown_pair`: nothing was registered.
        - BadInput: `bad_features`.
        - Conflict: `no_live_preset`: all were retired, or the schema forbids them by now.

        Raises:
            Unavailable: the ledger cannot be used; nothing was decided.
        """
        answers = in_place(questions, self._asked, self._ledger.decisions.decide)
        for answer in answers:
            if isinstance(answer, Decision):
                DECISIONS.labels(answer.key.strategy, answer.reason).inc()
        return answers

    def standing_by(self, key: PairKey, config_id: ConfigId | None) -> Decision:
        """The decision under which a position is open: the one named, else the newest that waits for its outcome,
        else the newest. Nothing is decided, so nothing changes for the position.

        Raises:
            NotFound: `unknown_pair`, `unknown_decision`.
            Conflict: `no_decision`: the pair has none yet.
        """
        if config_id is not None:
            found = self._ledger.decisions.get(config_id)
            if found.key != key:
                raise NotFound(
                    f"decision {config_id} is of {found.key}, not of {key}; send the order's own config_id",
                    code="unknown_decision",
                )
            return found
        waiting = self._ledger.decisions.latest_open(key)
        newest = [each.decision for each in self._ledger.decisions.list(key, limit=1)]
        if waiting is None and not newest:
            raise Conflict(
                f"nothing was ever decided for {key}, so no position can be open under it; ask without position=open",
                code="no_decision",
            )
        return waiting or newest[0]

    def _asked(self, question: Question) -> Asked:
        schema = self._schemas.get(question.key.strategy)
        fills = any(feature.fill for feature in schema.context)
        regime = self._regimes.of(question.key.instrument) if fills else None
        context = encode(schema, question.features, regime_fills(regime.probs) if regime else {})
        used: dict[str, object] = {name: {**told} for name, told in context.used.items()}
        if regime is not None:
            read = {"stream": regime.stream, "data_time": regime.data_time, "model_version": regime.model_version}
            used |= {name: {**told, **read} for name, told in context.used.items() if told["source"] == "regime"}
        chosen = partial(choice, schema, context, used)
        return Asked(key=question.key, signature=schema.context_signature, actor=question.actor, choose=chosen)


def choice(schema: StrategySchema, context: Context, used: Json, standing: Standing) -> Choice:
    """Choose among a pair's live presets, as the guardrails and then the policy have it.

    A preset that an earlier schema allowed and this one forbids is passed over like a retired one.

    Raises:
        Conflict: `no_live_preset`.
    """
    forbidden = {preset.preset_id: schema.forbids(preset.params) for preset in standing.presets}
    standing = replace(standing, presets=tuple(each for each in standing.presets if not forbidden[each.preset_id]))
    live = [preset.preset_id for preset in standing.presets]
    if not live:
        told = "; ".join(f"{name} is forbidden by the schema: {why}" for name, why in forbidden.items())
        raise Conflict(
            f"{told or f'every preset of {standing.key} is retired'}; register one under a new preset_id",
            code="no_live_preset",
        )
    default = live.index(schema.default_preset) if schema.default_preset in live else 0
    served = standing.incumbent.preset_id if standing.incumbent else None
    incumbent = live.index(served) if served in live else None  # a retired one cannot be held
    held = _guarded(schema, standing, incumbent, default)
    if held is None:
        reason, index, propensities = _picked(schema, context, standing, incumbent, default)
    else:
        reason, index, propensities = *held, [1.0]
    return Choice(
        preset_id=live[index],
        reason=reason,
        context=tuple(context.x.tolist()),
        features_used=used,
        propensities=dict(zip(live, propensities, strict=True)) if len(propensities) > 1 else {live[index]: 1.0},
        policy=schema.policy.name,
        policy_version=schema.policy_version,
        settle_within_ms=schema.reward.settle_within * 1_000,
    )


def _guarded(
    schema: StrategySchema, standing: Standing, incumbent: int | None, default: int
) -> tuple[Reason, int] | None:
    """What a guardrail serves, and why; None where the policy may choose."""
    if standing.frozen is not None:
        return Reason.KILL_SWITCH, default if incumbent is None else incumbent
    if incumbent is not None and standing.changes >= schema.guardrails.changes_per_day:
        return Reason.DAILY_LIMIT, incumbent
    return None


def _picked(
    schema: StrategySchema, context: Context, standing: Standing, incumbent: int | None, default: int
) -> tuple[Reason, int, list[float]]:
    """What the policy picks, why, and the propensity of every preset; of the default alone where it cannot."""
    spec = schema.policy
    try:
        beliefs = [
            standing.posterior(preset, len(context.x)).solve(spec.ridge, standing.now, spec.half_life_ms)
            for preset in standing.presets
        ]
        dice = draws(spec.seed, standing.key, standing.number)
        hysteresis = schema.guardrails.hysteresis
        pick = choose(spec, beliefs, context.x, dice, incumbent, hysteresis, default=default)
    except PosteriorUnusable as unusable:
        _log.error("posterior_unusable", pair=str(standing.key), detail=unusable.detail)
        return Reason.POSTERIOR_UNUSABLE, default, [1.0]
    return _why(spec, pick, incumbent), pick.index, pick.propensities.tolist()


def _why(spec: PolicySpec, pick: Pick, incumbent: int | None) -> Reason:
    if spec.name is PolicyName.FIXED:
        return Reason.FIXED
    if pick.index == incumbent != pick.unheld:
        return Reason.HELD_BY_HYSTERESIS
    return Reason.EXPLOITED if pick.index == pick.greedy else Reason.EXPLORED
