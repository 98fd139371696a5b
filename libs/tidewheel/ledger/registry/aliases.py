"""Aliases: names that move from version to version. The moves are kept for good, and the newest counts."""

from typing import Any

from sqlalchemy import Connection, Row, insert, select

from tidewheel.contracts.keys import CHAMPION
from tidewheel.contracts.messages import Channels
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger.engine import Database
from tidewheel.ledger.outbox import post
from tidewheel.ledger.registry.records import AliasMove, RegisteredModel
from tidewheel.ledger.registry.tables import model_aliases
from tidewheel.ledger.streams import refuse_synthetic

STEP = "champion_moved"  #: of a verdict


def lock(db: Database, connection: Connection, model_name: str) -> None:
    """Let one transaction at a time move a name's aliases; after the switches' lock, where both are taken."""
    db.lock(connection, f"model:{model_name}")


def move(
    db: Database,
    connection: Connection,
    model: RegisteredModel,
    alias: str,
    actor: str,
    reason: str,
    *,
    run_id: int | None = None,
) -> AliasMove:
    """Let the alias name the version, and leave the hint for the readers; where it does already, the move that stands.

    Raises:
        Conflict: `synthetic_origin`: the champion would be of synthetic bars, and this ledger holds real ones.
    """
    lock(db, connection, model.model_name)
    before = newest(connection, model.model_name, alias)
    if before is not None and before.version == model.version:
        return before
    if alias == CHAMPION:
        refuse_synthetic(connection, f"{model.model_name} {model.version}", model.origin)
    row = connection.execute(
        insert(model_aliases)
        .values(
            model_name=model.model_name,
            alias=alias,
            version=model.version,
            previous=None if before is None else before.version,
            actor=actor,
            reason=reason,
            run_id=run_id,
            created_at=db.clock(),
        )
        .returning(model_aliases)
    ).one()
    hint = {"model_name": model.model_name, "alias": alias, "version": model.version}
    post(db, connection, f"bus:{Channels.registry(model.model_name)}", hint)
    return _move(row)


def heed(connection: Connection, model_name: str, verdict: Verdict, since: int) -> Verdict:
    """The verdict, with a refusal at its end where it passed and the champion's move `since` is not the newest."""
    now = newest(connection, model_name, CHAMPION)
    if not verdict.passed or now is None or now.id == since:
        return verdict
    refusal = StepResult(
        step=STEP,
        passed=False,
        reason=f"{now.actor} made {now.version} the champion meanwhile, with which nothing was compared",
        numbers={"champion": now.version},
    )
    return Verdict(steps=(*verdict.steps, refusal))


def newest(connection: Connection, model_name: str, alias: str) -> AliasMove | None:
    """The move that counts; None where the alias was never given."""
    row = connection.execute(_of(model_name, alias).order_by(model_aliases.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _move(row)


def history(connection: Connection, model_name: str, alias: str) -> list[AliasMove]:
    """Every move of the alias, oldest first."""
    rows = connection.execute(_of(model_name, alias).order_by(model_aliases.c.id)).all()
    return [_move(row) for row in rows]


def standing(connection: Connection, model_name: str | None) -> list[AliasMove]:
    """The newest move of each alias, of one name or of all, by name and alias."""
    later = model_aliases.alias("later")
    overtaken = (
        select(later.c.id)
        .where(later.c.model_name == model_aliases.c.model_name, later.c.alias == model_aliases.c.alias)
        .where(later.c.id > model_aliases.c.id)
    )
    query = select(model_aliases).where(~overtaken.exists())
    if model_name is not None:
        query = query.where(model_aliases.c.model_name == model_name)
    rows = connection.execute(query.order_by(model_aliases.c.model_name, model_aliases.c.alias)).all()
    return [_move(row) for row in rows]


def champions(connection: Connection, model_name: str) -> list[str]:
    """The champion and those that one can step back to: a step back takes away what lies above it."""
    stack: list[str] = []
    for move in history(connection, model_name, CHAMPION):
        if move.version in stack:
            del stack[stack.index(move.version) + 1 :]
        else:
            stack.append(move.version)
    return stack


def _of(model_name: str, alias: str) -> Any:
    return select(model_aliases).where(model_aliases.c.model_name == model_name, model_aliases.c.alias == alias)


def _move(row: Row[Any]) -> AliasMove:
    return AliasMove(
        id=row.id,
        model_name=row.model_name,
        alias=row.alias,
        version=row.version,
        previous=row.previous,
        actor=row.actor,
        reason=row.reason,
        run_id=row.run_id,
        created_at=row.created_at,
    )
