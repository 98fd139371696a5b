"""fsck of parameter control: numbers without holes, outcomes counted once, posteriors that the log adds up to."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, case, func, or_, select

from tidewheel.contracts.states import DecisionState, OutcomeKind
from tidewheel.ledger.control.posteriors import SAME, difference
from tidewheel.ledger.control.tables import decisions, guardrails, outcomes


def wrong_numbers(connection: Connection) -> tuple[list[str], int]:
    """Pairs whose decisions are not numbered 1, 2, 3...; and how many decisions there are."""
    return _holes(connection, decisions, decisions.c.number, guardrails.c.decisions, "decisions")


def wrong_outcomes(connection: Connection) -> tuple[list[str], int]:
    """Outcomes that do not stand for one decision each, and pairs that counted others; and how many there are."""
    wrong, total = _holes(connection, outcomes, outcomes.c.seq, guardrails.c.learnt, "outcomes")
    fits = case(
        (outcomes.c.decision_id.is_(None), decisions.c.state == DecisionState.OPEN),
        (outcomes.c.kind == OutcomeKind.REPORTED, decisions.c.state == DecisionState.SETTLED),
        else_=decisions.c.state == DecisionState.EXPIRED,
    )
    odd = (
        select(decisions.c.id, decisions.c.state, outcomes.c.kind)
        .outerjoin(outcomes, outcomes.c.decision_id == decisions.c.id)
        .where(or_(~fits, outcomes.c.pair_id != decisions.c.pair_id))
        .order_by(decisions.c.id)
    )
    wrong += [
        f"decision {row.id} is {row.state}, and its outcome is {row.kind or 'missing'}"
        for row in connection.execute(odd).all()
    ]
    told = (outcomes.c.pair_id == guardrails.c.id) & (outcomes.c.kind == OutcomeKind.REPORTED)
    realised = func.coalesce(func.sum(outcomes.c.reward), 0.0).label("told")
    moved = func.coalesce(func.sum(func.abs(outcomes.c.reward)), 0.0).label("moved")
    sums = select(guardrails, realised, moved).outerjoin(outcomes, told).group_by(guardrails.c.id)
    wrong += [
        f"{row.strategy}/{row.instrument} realised {row.realised:g}, and its outcomes sum to {row.told:g}"
        for row in connection.execute(sums.order_by(guardrails.c.id)).all()
        if abs(row.realised - row.told) > SAME * row.moved
    ]
    return wrong, total


def wrong_posteriors(connection: Connection) -> tuple[list[str], int]:
    """Pairs whose posteriors are not what the log adds up to; and how many pairs there are. Reads every outcome."""
    pairs = connection.execute(select(guardrails).order_by(guardrails.c.id)).all()
    apart = [(row, difference(connection, row.id)) for row in pairs]
    return [
        f"the posterior of {row.strategy}/{row.instrument} is {far:g} from what its log adds up to"
        for row, far in apart
        if far > SAME
    ], len(pairs)


def _holes(connection: Connection, table: Any, number: Any, counter: Any, what: str) -> tuple[list[str], int]:
    query = (
        select(
            guardrails.c.strategy,
            guardrails.c.instrument,
            counter.label("newest"),
            func.count(number).label("rows"),
            func.coalesce(func.min(number), 1).label("first"),
            func.coalesce(func.max(number), 0).label("last"),
        )
        .outerjoin(table, table.c.pair_id == guardrails.c.id)
        .group_by(guardrails.c.id)
        .order_by(guardrails.c.id)
    )
    rows: Sequence[Row[Any]] = connection.execute(query).all()
    wrong = [
        f"{row.strategy}/{row.instrument} has {row.rows} {what} from {row.first} to {row.last}, and counted "
        f"{row.newest}"
        for row in rows
        if (row.first, row.last, row.newest) != (1, row.rows, row.rows)
    ]
    return wrong, sum(row.rows for row in rows)
