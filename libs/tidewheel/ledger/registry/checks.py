"""fsck of the model registry: aliases that name versions, predictions of known models with what became of them."""

from typing import Any

from sqlalchemy import Connection, and_, case, func, or_, select

from tidewheel.contracts.states import PredictionState
from tidewheel.ledger.registry.tables import ml_models, model_aliases, predictions


def wrong_aliases(connection: Connection) -> tuple[list[str], int]:
    """Moves of aliases to versions that are not registered; and how many moves there are."""
    named = and_(
        ml_models.c.model_name == model_aliases.c.model_name,
        ml_models.c.version == model_aliases.c.version,
    )
    query = select(model_aliases).outerjoin(ml_models, named).where(ml_models.c.id.is_(None))
    rows = connection.execute(query.order_by(model_aliases.c.id)).all()
    wrong = [f"move {row.id} points {row.alias} of {row.model_name} to {row.version}" for row in rows]
    return wrong, _count(connection, model_aliases)


def wrong_predictions(connection: Connection) -> tuple[list[str], int]:
    """Predictions of unknown versions, or whose state does not fit what is stored; and how many there are."""
    made_by = and_(
        ml_models.c.model_name == predictions.c.model_name,
        ml_models.c.version == predictions.c.model_version,
    )
    told, scored = predictions.c.actual_value.is_not(None), predictions.c.scored_at.is_not(None)
    fits = case(
        (predictions.c.state == PredictionState.OPEN, and_(~told, ~scored)),
        (predictions.c.state == PredictionState.KNOWN, and_(told, scored)),
        else_=and_(~told, scored),
    )
    query = (
        select(predictions, ml_models.c.id.label("model_id"))
        .outerjoin(ml_models, made_by)
        .where(or_(ml_models.c.id.is_(None), ~fits))
        .order_by(predictions.c.id)
    )
    wrong = [
        f"prediction {row.id} is of {row.model_name} {row.model_version}, which is not registered"
        if row.model_id is None
        else f"prediction {row.id} is {row.state}, and its close is {row.actual_value}, scored at {row.scored_at}"
        for row in connection.execute(query).all()
    ]
    return wrong, _count(connection, predictions)


def _count(connection: Connection, table: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
