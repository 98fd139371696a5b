"""Reading decisions and outcomes: shared by those who decide, learn and look back."""

from typing import Any

from sqlalchemy import Connection, Row, Select, select

from tidewheel.contracts.errors import NotFound
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import DecisionState, OutcomeKind, PolicyName, Reason
from tidewheel.ledger.control.records import Decision, Outcome
from tidewheel.ledger.control.tables import decisions, guardrails, outcomes, presets


def select_decisions() -> Select[Any]:
    """All columns of a decision, its pair and its preset's content; narrow it with where()."""
    of_preset = (presets.c.pair_id == decisions.c.pair_id) & (presets.c.preset_id == decisions.c.preset_id)
    return (
        select(decisions, guardrails.c.strategy, guardrails.c.instrument, presets.c.params, presets.c.digest)
        .join(guardrails, guardrails.c.id == decisions.c.pair_id)
        .join(presets, of_preset)
    )


def read_decision(connection: Connection, decision_id: int) -> Decision:
    """One decision inside the caller's transaction; NotFound where there is none."""
    row = connection.execute(select_decisions().where(decisions.c.id == decision_id)).one_or_none()
    if row is None:
        raise unknown_decision(f"there is no decision {decision_id}")
    return to_decision(row)


def unknown_decision(what: str) -> NotFound:
    """What is answered where no decision is meant."""
    return NotFound(f"{what}; report what GET /param answered as config_id", code="unknown_decision")


def to_decision(row: Row[Any]) -> Decision:
    """The record of a row of `select_decisions()`."""
    return Decision(
        id=row.id,
        key=PairKey(row.strategy, row.instrument),
        number=row.number,
        preset_id=row.preset_id,
        params=row.params,
        digest=row.digest,
        signature=row.signature,
        context=tuple(row.context),
        features_used=row.features_used,
        reason=Reason(row.reason),
        propensity=row.propensity,
        propensities=row.propensities,
        policy=PolicyName(row.policy),
        policy_version=row.policy_version,
        learnt=row.learnt,
        changed=row.changed,
        state=DecisionState(row.state),
        actor=row.actor,
        decided_at=row.decided_at,
        expires_at=row.expires_at,
    )


def to_outcome(row: Row[Any]) -> Outcome:
    """The record of a row of `outcomes`."""
    return Outcome(
        decision_id=row.decision_id,
        seq=row.seq,
        kind=OutcomeKind(row.kind),
        event_id=row.event_id,
        reward=row.reward,
        learnt_reward=row.learnt_reward,
        half_life_ms=row.half_life_ms,
        learnt=row.learnt,
        left_out=row.left_out,
        inferred=row.inferred,
        features=row.features,
        actor=row.actor,
        learnt_at=row.learnt_at,
        dropped_at=row.dropped_at,
        dropped_after=row.dropped_after,
    )


def outcomes_of(connection: Connection, decision_ids: list[int]) -> dict[int, Outcome]:
    """The outcomes of decisions, by decision; those that have none are left out."""
    rows = connection.execute(select(outcomes).where(outcomes.c.decision_id.in_(decision_ids))).all()
    return {row.decision_id: to_outcome(row) for row in rows}
