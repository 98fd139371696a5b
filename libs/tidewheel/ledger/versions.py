"""Versions and the history of champions. Symlinks, registry files and events are projections of `promotions`."""

from typing import Any

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import BadInput, Conflict, NotFound
from tidewheel.contracts.messages import Channels
from tidewheel.contracts.states import Origin, PromotionAction
from tidewheel.contracts.verdicts import Verdict
from tidewheel.ledger.control import switches
from tidewheel.ledger.engine import Database
from tidewheel.ledger.outbox import post
from tidewheel.ledger.records import NewVersion, Promotion, Version
from tidewheel.ledger.streams import refuse_synthetic
from tidewheel.ledger.tables import promotions, verdicts, versions


class Versions:
    """What was published, and which version of a family is the champion."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, family: str, version: str) -> Version | None:
        """One version; None where it was never published."""
        with self._db.read() as connection:
            return _find(connection, family, version)

    def all(self, family: str) -> list[Version]:
        """The family's versions, newest publication first."""
        with self._db.read() as connection:
            rows = connection.execute(
                _select_versions().where(versions.c.family == family).order_by(versions.c.run_id.desc())
            ).all()
        return [_version(row) for row in rows]

    def families(self) -> list[str]:
        """Every family with a version, in order of name."""
        with self._db.read() as connection:
            return list(connection.execute(select(versions.c.family).distinct().order_by(versions.c.family)).scalars())

    def champion(self, family: str) -> Version | None:
        """The version of the family's newest promotion."""
        with self._db.read() as connection:
            name = _champion(connection, family)
            return None if name is None else _find(connection, family, name)

    def promotions(self, family: str) -> list[Promotion]:
        """Every move of the family's champion, oldest first."""
        with self._db.read() as connection:
            return _history(connection, family)

    def last_promotion(self, family: str) -> Promotion | None:
        """The newest move of the family's champion."""
        with self._db.read() as connection:
            moves = select(promotions).where(promotions.c.family == family)
            row = connection.execute(moves.order_by(promotions.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else _promotion(row)

    def promote(self, family: str, version: str, actor: str, reason: str, force: bool = False) -> Promotion:
        """Make a version the champion. Without `force` its newest verdict must have passed.

        Raises:
            NotFound: it was never published.
            BadInput: `force` without a reason.
            Conflict: `verdict_not_passed`, `synthetic_origin`, or `kill_switch`: one stands.
        """
        if force and not reason.strip():
            raise BadInput("a forced promotion needs a reason: say why the gate's verdict does not count")
        with self._db.write() as connection:
            found = _known(connection, family, version)
            switches.refuse_promotion(self._db, connection)
            passed = found.verdict is not None and found.verdict.passed
            if not passed and not force:
                raise Conflict(
                    f"{version} did not pass the gate ({_why_not(found)}); "
                    "promote it with force and a reason if you know better",
                    code="verdict_not_passed",
                )
            return promote(
                self._db, connection, found, PromotionAction.PROMOTE, actor, reason, forced=force and not passed
            )

    def earlier_champions(self, family: str) -> list[str]:
        """Versions that a rollback can go to, the nearest first."""
        with self._db.read() as connection:
            return _champions_below(_history(connection, family))

    def rollback(self, family: str, actor: str, reason: str, to: str | None = None) -> Promotion:
        """Make the champion before this one the champion again, or `to`, one further back.

        Raises:
            NotFound: `to` was never published.
            Conflict: `nothing_to_roll_back`: there is no earlier champion, or `to` is none.
        """
        with self._db.write() as connection:
            self._db.lock(connection, _lock_name(family))
            earlier = _champions_below(_history(connection, family))
            if to is not None:
                _known(connection, family, to)
            if not earlier or (to is not None and to not in earlier):
                raise Conflict(
                    f"{family} has no earlier champion{f' {to}' if to else ''} to roll back to "
                    f"(earlier champions: {', '.join(earlier) or 'none'}); going forward again is a promote",
                    code="nothing_to_roll_back",
                )
            found = _known(connection, family, to or earlier[0])
            return promote(self._db, connection, found, PromotionAction.ROLLBACK, actor, reason)

    def adopt(self, family: str, version: str, actor: str = "filesystem") -> Promotion:
        """Accept that `current` was repointed by hand to a published version.

        Raises:
            NotFound: it was never published.
            Conflict: `synthetic_origin`, or `kill_switch`: one stands, and this is no step back.
        """
        with self._db.write() as connection:
            found = _known(connection, family, version)
            if version not in _champions_below(_history(connection, family)):
                switches.refuse_promotion(self._db, connection)
            return promote(self._db, connection, found, PromotionAction.ADOPT, actor, "current was repointed by hand")


def store_version(db: Database, connection: Connection, run_id: int, new: NewVersion, verdict: Verdict) -> Version:
    """Store the version and this run's verdict on it; the same bytes published before are the same version.

    Raises:
        Conflict: `version_taken`: the name stands for other bytes, or the bytes have another name.
    """
    upsert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    connection.execute(
        upsert(versions)
        .values(
            family=new.family,
            version=new.version,
            digest=new.digest,
            data_as_of=new.data_as_of,
            seed=new.seed,
            code_digest=new.code_digest,
            parent=new.parent,
            metrics=dict(new.metrics),
            lineage=dict(new.lineage),
            manifest=dict(new.manifest),
            origin=new.origin,
            run_id=run_id,
            created_at=db.clock(),
        )
        .on_conflict_do_nothing()
    )
    same = (versions.c.family == new.family) & (versions.c.digest == new.digest)
    stored = connection.execute(select(versions.c.version).where(same)).scalar_one_or_none()
    if stored != new.version:
        raise Conflict(
            f"{new.family} {new.version} with digest {new.digest} cannot be published: "
            + (f"these bytes are {stored}" if stored else "the name stands for other bytes"),
            code="version_taken",
        )
    connection.execute(
        insert(verdicts).values(
            run_id=run_id,
            family=new.family,
            version=new.version,
            passed=verdict.passed,
            steps=verdict.model_dump(mode="json")["steps"],
            created_at=db.clock(),
        )
    )
    return _known(connection, new.family, new.version)


def promote(
    db: Database,
    connection: Connection,
    version: Version,
    action: PromotionAction,
    actor: str,
    reason: str,
    *,
    forced: bool = False,
    run_id: int | None = None,
) -> Promotion:
    """Move the champion inside the caller's transaction, and leave the hint for the readers.

    Raises:
        Conflict: `synthetic_origin`: the version was trained on synthetic bars, and this ledger holds real ones.
    """
    db.lock(connection, _lock_name(version.family))
    refuse_synthetic(connection, version.version, version.origin)
    row = connection.execute(
        insert(promotions)
        .values(
            family=version.family,
            version=version.version,
            action=action,
            actor=actor,
            reason=reason,
            forced=forced,
            previous=_champion(connection, version.family),
            run_id=run_id,
            created_at=db.clock(),
        )
        .returning(promotions)
    ).one()
    hint = {"family": version.family, "version": version.version}
    post(db, connection, f"bus:{Channels.models(version.family)}", hint)
    return _promotion(row)


def _lock_name(family: str) -> str:
    return f"family:{family}"


def _champion(connection: Connection, family: str) -> str | None:
    newest = promotions.c.id.desc()
    query = select(promotions.c.version).where(promotions.c.family == family).order_by(newest).limit(1)
    return connection.execute(query).scalar_one_or_none()


def _champions_below(history: list[Promotion]) -> list[str]:
    """Earlier champions, the nearest first: a promotion stacks one on top, a step back takes those above away."""
    stack: list[str] = []
    for move in history:
        back = move.action is not PromotionAction.PROMOTE and move.version in stack
        if back:
            while stack[-1] != move.version:
                stack.pop()
        elif not stack or stack[-1] != move.version:
            stack.append(move.version)
    below = [version for version in reversed(stack[:-1]) if version != stack[-1]]
    return list(dict.fromkeys(below))


def _history(connection: Connection, family: str) -> list[Promotion]:
    rows = connection.execute(select(promotions).where(promotions.c.family == family).order_by(promotions.c.id)).all()
    return [_promotion(row) for row in rows]


def _known(connection: Connection, family: str, version: str) -> Version:
    found = _find(connection, family, version)
    if found is None:
        raise NotFound(f"{family} has no version {version!r}; `tidewheel models` lists them")
    return found


def _find(connection: Connection, family: str, version: str) -> Version | None:
    where = (versions.c.family == family) & (versions.c.version == version)
    row = connection.execute(_select_versions().where(where)).one_or_none()
    return None if row is None else _version(row)


def _select_versions() -> Any:
    newest = (
        select(verdicts.c.steps)
        .where(verdicts.c.family == versions.c.family, verdicts.c.version == versions.c.version)
        .order_by(verdicts.c.run_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return select(versions, newest.label("steps"))


def _why_not(version: Version) -> str:
    if version.verdict is None or version.verdict.refusal is None:
        return "it was never judged"
    return f"{version.verdict.refusal.step}: {version.verdict.refusal.reason}"


def _version(row: Row[Any]) -> Version:
    return Version(
        family=row.family,
        version=row.version,
        digest=row.digest,
        data_as_of=row.data_as_of,
        seed=row.seed,
        code_digest=row.code_digest,
        parent=row.parent,
        metrics=row.metrics,
        lineage=row.lineage,
        manifest=row.manifest,
        origin=Origin(row.origin),
        run_id=row.run_id,
        verdict=None if row.steps is None else Verdict.model_validate({"steps": row.steps}),
        created_at=row.created_at,
    )


def _promotion(row: Row[Any]) -> Promotion:
    return Promotion(
        id=row.id,
        family=row.family,
        version=row.version,
        action=PromotionAction(row.action),
        actor=row.actor,
        reason=row.reason,
        forced=row.forced,
        previous=row.previous,
        run_id=row.run_id,
        created_at=row.created_at,
    )
