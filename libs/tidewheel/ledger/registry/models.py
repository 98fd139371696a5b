"""Registered models: which version is which file, what it means, and which of them counts."""

import builtins
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import Conflict, NotFound
from tidewheel.contracts.keys import CHAMPION, StreamKey, is_version, model_alias
from tidewheel.contracts.states import ModelFormat, Origin
from tidewheel.contracts.verdicts import Verdict
from tidewheel.ledger.control import switches
from tidewheel.ledger.control.audit import write_down
from tidewheel.ledger.engine import Database
from tidewheel.ledger.registry import aliases
from tidewheel.ledger.registry.records import AliasMove, NewModel, RegisteredModel
from tidewheel.ledger.registry.tables import ml_models, model_verdicts


class Registry:
    """The registered models. A version is never taken out, and its content and meaning never change."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def register(self, new: NewModel, actor: str) -> tuple[RegisteredModel, bool]:
        """A user's model, and whether it is new; where its name has no champion, it becomes that by his word.

        Content and meaning that are registered already are that version; its file may lie elsewhere by now. While a
        kill switch stands nothing becomes a champion.

        Raises:
            Conflict: `version_taken`: the version stands for another digest.
        """
        with self._db.write() as connection:
            frozen = switches.standing(self._db, connection)
            aliases.lock(self._db, connection, new.model_name)
            model, created = store_model(self._db, connection, new, actor, None)
            if created and frozen is None and aliases.newest(connection, new.model_name, CHAMPION) is None:
                aliases.move(self._db, connection, model, CHAMPION, actor, "the name's first version")
            return model, created

    def get(self, model_name: str, version: str | None = None) -> RegisteredModel | None:
        """The version that is meant: by its own name, by an alias, or the champion; None where there is none."""
        with self._db.read() as connection:
            if version is None or not is_version(version):
                named = aliases.newest(connection, model_name, version or CHAMPION)
                if named is None:
                    return None
                version = named.version
            return _find(connection, model_name, version)

    def all(self) -> builtins.list[RegisteredModel]:
        """Every version, by name, the newest registration first."""
        with self._db.read() as connection:
            return _read(connection)

    def versions(self, model_name: str) -> builtins.list[RegisteredModel]:
        """The name's versions, the newest registration first."""
        with self._db.read() as connection:
            return _read(connection, ml_models.c.model_name == model_name)

    def of_content(self, content_digest: str) -> builtins.list[RegisteredModel]:
        """The versions of a file with this sha256, as `all` has them."""
        with self._db.read() as connection:
            return _read(connection, ml_models.c.content_digest == content_digest)

    def set_active(self, model_name: str, version: str, active: bool, actor: str, reason: str = "") -> RegisteredModel:
        """Serve the version, or serve it no more; an alias that names it stays where it is.

        Raises:
            NotFound: there is no such version.
        """
        with self._db.write() as connection:
            aliases.lock(self._db, connection, model_name)
            if _known(connection, model_name, version).is_active != active:
                connection.execute(
                    update(ml_models)
                    .where(ml_models.c.model_name == model_name, ml_models.c.version == version)
                    .values(is_active=int(active), updated_at=self._db.clock())
                )
                action = "model.activate" if active else "model.deactivate"
                write_down(self._db, connection, actor, action, f"{model_name} {version}", reason, {})
            return _known(connection, model_name, version)

    def trust(
        self, content_digest: str, converted_path: str, converted_digest: str, outputs: int, actor: str
    ) -> builtins.list[RegisteredModel]:
        """Let what the file was converted to be loaded in its place, for every version of that file.

        Raises:
            NotFound: no joblib file with this sha256 is registered.
        """
        untrusted = (ml_models.c.content_digest == content_digest) & (ml_models.c.format == ModelFormat.JOBLIB)
        with self._db.write() as connection:
            done = connection.execute(
                update(ml_models)
                .where(untrusted)
                .values(
                    trusted=True,
                    converted_path=converted_path,
                    converted_digest=converted_digest,
                    outputs=outputs,
                    updated_at=self._db.clock(),
                )
            )
            if not done.rowcount:
                raise NotFound(
                    f"no .joblib file with sha256 {content_digest} is registered; GET /models tells content_digest",
                    code="unknown_digest",
                )
            detail = {"converted_path": converted_path, "converted_digest": converted_digest}
            write_down(self._db, connection, actor, "model.trust", content_digest, "", detail)
        return self.of_content(content_digest)

    def move_alias(self, model_name: str, alias: str, version: str, actor: str, reason: str) -> AliasMove:
        """Let the alias name the version; where it does already, the move that stands.

        Raises:
            BadInput: the alias cannot be one.
            NotFound: there is no such version.
            Conflict: `model_inactive`; of the champion also `synthetic_origin`, or `kill_switch`: one stands, and this
                is no step back.
        """
        model_alias(alias)
        with self._db.write() as connection:
            frozen = switches.standing(self._db, connection) if alias == CHAMPION else None
            aliases.lock(self._db, connection, model_name)
            found = _known(connection, model_name, version)
            if not found.is_active:
                raise Conflict(
                    f"{model_name} {version} is inactive; activate it first, or name another version",
                    code="model_inactive",
                )
            if frozen is not None and version not in aliases.champions(connection, model_name):
                switches.refuse_promotion(self._db, connection)
            return aliases.move(self._db, connection, found, alias, actor, reason)

    def aliases(self, model_name: str | None = None) -> builtins.list[AliasMove]:
        """Where each alias stands, of one name or of all, by name and alias."""
        with self._db.read() as connection:
            return aliases.standing(connection, model_name)

    def moves(self, model_name: str, alias: str = CHAMPION) -> builtins.list[AliasMove]:
        """Every move of an alias, oldest first."""
        with self._db.read() as connection:
            return aliases.history(connection, model_name, alias)


def store_model(
    db: Database, connection: Connection, new: NewModel, registered_by: str, run_id: int | None
) -> tuple[RegisteredModel, bool]:
    """The version of this digest, and whether it is new, inside the caller's transaction.

    Raises:
        Conflict: `version_taken`: the version stands for another digest.
    """
    upsert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    values = _values(new) | {"registered_by": registered_by, "run_id": run_id}
    fresh = upsert(ml_models).values(**values, created_at=db.clock(), updated_at=db.clock())
    created = connection.execute(fresh.on_conflict_do_nothing().returning(ml_models.c.id)).one_or_none() is not None
    same = (ml_models.c.model_name == new.model_name, ml_models.c.digest == new.digest)
    if not (found := _read(connection, *same)):
        raise Conflict(
            f"{new.model_name} {new.version} stands for another digest than {new.digest}; GET /models lists them",
            code="version_taken",
        )
    if found[0].file_path != new.file_path:
        moved = update(ml_models).where(*same).values(file_path=new.file_path, updated_at=db.clock())
        connection.execute(moved)
        found = _read(connection, *same)
    return found[0], created


def publish_model(
    db: Database, connection: Connection, run_id: int, new: NewModel, verdict: Verdict, since: int | None
) -> Verdict:
    """Store what a run has made and the verdict on it; where that passed, it is the name's champion.

    Returns the verdict in the end, which refuses where the champion has moved after its move `since`.

    Raises:
        Conflict: `version_taken`: the version stands for another digest, or the digest for another version;
            `synthetic_origin`.
    """
    actor = f"run {run_id}"
    aliases.lock(db, connection, new.model_name)  # before any row: set_active waits for them in this order
    if since is not None:
        verdict = aliases.heed(connection, new.model_name, verdict, since)
    model, _ = store_model(db, connection, new, actor, run_id)
    if model.version != new.version:
        raise Conflict(
            f"{new.model_name} {new.version} with digest {new.digest} cannot be published: that is {model.version}",
            code="version_taken",
        )
    connection.execute(
        insert(model_verdicts).values(
            run_id=run_id,
            model_name=new.model_name,
            version=new.version,
            passed=verdict.passed,
            steps=verdict.model_dump(mode="json")["steps"],
            created_at=db.clock(),
        )
    )
    if verdict.passed:
        aliases.move(db, connection, model, CHAMPION, actor, "the comparison passed it", run_id=run_id)
    return verdict


def _known(connection: Connection, model_name: str, version: str) -> RegisteredModel:
    found = _find(connection, model_name, version)
    if found is None:
        raise NotFound(f"{model_name} has no version {version!r}; GET /models lists them", code="unknown_version")
    return found


def _find(connection: Connection, model_name: str, version: str) -> RegisteredModel | None:
    found = _read(connection, ml_models.c.model_name == model_name, ml_models.c.version == version)
    return found[0] if found else None


def _read(connection: Connection, *conditions: ColumnElement[bool]) -> list[RegisteredModel]:
    """The versions that meet the conditions, by name, the newest registration first."""
    newest = (
        select(model_verdicts.c.steps)
        .where(model_verdicts.c.model_name == ml_models.c.model_name, model_verdicts.c.version == ml_models.c.version)
        .order_by(model_verdicts.c.run_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(ml_models, newest.label("steps")).where(*conditions)
    rows = connection.execute(query.order_by(ml_models.c.model_name, ml_models.c.id.desc())).all()
    return [_model(row) for row in rows]


def _values(new: NewModel) -> dict[str, Any]:
    return {
        "model_name": new.model_name,
        "version": new.version,
        "model_type": new.model_type,
        "prediction_horizons": list(new.prediction_horizons),
        "file_path": new.file_path,
        "feature_config": None if new.feature_config is None else dict(new.feature_config),
        "digest": new.digest,
        "content_digest": new.content_digest,
        "format": new.format,
        "feature_signatures": {str(horizon): each for horizon, each in new.feature_signatures.items()},
        "outputs": new.outputs,
        "trusted": new.trusted,
        "converted_path": new.converted_path,
        "converted_digest": new.converted_digest,
        "stream": None if new.stream is None else str(new.stream),
        "data_as_of": new.data_as_of,
        "origin": new.origin,
        "metrics": dict(new.metrics or {}),
        "reference": None if new.reference is None else dict(new.reference),
    }


def _model(row: Row[Any]) -> RegisteredModel:
    return RegisteredModel(
        id=row.id,
        model_name=row.model_name,
        version=row.version,
        model_type=row.model_type,
        prediction_horizons=tuple(row.prediction_horizons),
        file_path=row.file_path,
        feature_config=row.feature_config,
        is_active=bool(row.is_active),
        created_at=row.created_at,
        updated_at=row.updated_at,
        digest=row.digest,
        content_digest=row.content_digest,
        format=ModelFormat(row.format),
        feature_signatures={int(horizon): each for horizon, each in row.feature_signatures.items()},
        outputs=row.outputs,
        trusted=row.trusted,
        converted_path=row.converted_path,
        converted_digest=row.converted_digest,
        stream=None if row.stream is None else StreamKey.parse(row.stream),
        data_as_of=row.data_as_of,
        origin=None if row.origin is None else Origin(row.origin),
        run_id=row.run_id,
        verdict=None if row.steps is None else Verdict.model_validate({"steps": row.steps}),
        metrics=row.metrics,
        reference=row.reference,
        registered_by=row.registered_by,
    )
