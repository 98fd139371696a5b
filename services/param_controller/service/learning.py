"""What came of decisions: reported by engines, or settled by default when nobody reports in time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.param_controller.service.group_commit import in_place
from services.param_controller.service.schema_files import Schemas
from tidewheel.contracts.errors import BadInput, NotFound, TidewheelError
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.contracts.strategies import StrategySchema
from tidewheel.kit.logs import logger
from tidewheel.kit.metrics import OUTCOMES
from tidewheel.ledger.control.records import Learnt, Report, Rules
from tidewheel.ledger.open import Ledger

_SETTLED_AT_ONCE = 200  #: decisions in one transaction, for which others wait
_log = logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What an engine reports when a trade has settled."""

    key: PairKey
    preset_id: str
    reward: float
    actor: str
    config_id: ConfigId | None
    event_id: str | None
    features: Mapping[str, float] | None


class Learning:
    """Turns what is told into outcomes, each learnt once."""

    def __init__(self, ledger: Ledger, schemas: Schemas) -> None:
        self._ledger, self._schemas = ledger, schemas

    def learn(self, told: Sequence[Told]) -> list[Learnt | TidewheelError]:
        """Learn all in one transaction, each answered in its place; errors as of `ledger.outcomes.learn`, and

        - NotFound: `unknown_strategy`.
        - BadInput: `absurd_reward`.

        Raises:
            Unavailable: the ledger cannot be used; nothing was learnt.
        """
        answers = in_place(told, self._report, self._ledger.outcomes.learn)
        for answer in answers:
            if isinstance(answer, Learnt):
                _count(answer)
        return answers

    def settle(self, key: PairKey) -> int:
        """Give the pair's decisions whose time ran out the schema's default; how many there were."""

        def rules(of: PairKey) -> Rules | None:
            try:
                return rules_of(self._schemas.get(key.strategy)) if of == key else None
            except NotFound as gone:
                _log.warning("settling_refused", pair=str(key), detail=gone.detail)
                return None

        settled, more = 0, True
        while more:
            learnt = len(self._ledger.outcomes.settle_due(_SETTLED_AT_ONCE, rules))
            settled, more = settled + learnt, learnt == _SETTLED_AT_ONCE
        return settled

    def _report(self, told: Told) -> Report:
        schema = self._schemas.get(told.key.strategy)
        reward = schema.reward
        if abs(told.reward) > reward.absurd:
            raise BadInput(
                f"reward {told.reward} is beyond {reward.absurd:g} {reward.unit}, which {schema.strategy} takes for "
                "a mistake; look at its unit",
                code="absurd_reward",
            )
        return Report(
            key=told.key,
            preset_id=told.preset_id,
            reward=told.reward,
            actor=told.actor,
            rules=rules_of(schema),
            config_id=told.config_id,
            event_id=told.event_id,
            features=told.features,
        )


def rules_of(schema: StrategySchema) -> Rules:
    """What the ledger needs to know of a schema to learn."""
    return Rules(
        clip=schema.reward.clip,
        default=schema.reward.default,
        half_life_ms=schema.policy.half_life_ms,
        max_key_share=schema.guardrails.max_key_share,
        max_drawdown=schema.guardrails.max_drawdown,
    )


def _count(learnt: Learnt) -> None:
    kind = "repeated" if learnt.repeated else learnt.outcome.left_out or learnt.outcome.kind.value
    OUTCOMES.labels(learnt.decision.key.strategy, kind).inc()
    if learnt.tripped is not None:
        _log.error("kill_switch_tripped", scope=learnt.tripped.scope, reason=learnt.tripped.reason)
