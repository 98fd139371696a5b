"""Who serves what: heartbeats of the predictors."""

from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Replica
from tidewheel.ledger.tables import replicas


class Replicas:
    """Processes that serve a family, as they last said of themselves."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def beat(self, id: str, role: str, family: str, loaded: str | None, error: str | None) -> None:
        """Say that replica `id` lives, which version it answers with, and why it could not load a newer one."""
        insert = postgresql.insert if self._db.dialect == "postgresql" else sqlite.insert
        now = {"role": role, "family": family, "loaded": loaded, "error": error, "seen_at": self._db.clock()}
        with self._db.write() as connection:
            connection.execute(
                insert(replicas).values(id=id, **now).on_conflict_do_update(index_elements=["id"], set_=now)
            )

    def leave(self, id: str) -> None:
        """Say that replica `id` ended in order; without effect where it is not known."""
        with self._db.write() as connection:
            connection.execute(delete(replicas).where(replicas.c.id == id))

    def live(self, family: str, within_ms: int = 15_000) -> list[Replica]:
        """The family's replicas that were heard of in the last `within_ms`, by id."""
        heard = replicas.c.seen_at > self._db.clock() - within_ms
        with self._db.read() as connection:
            rows = connection.execute(
                select(replicas).where(replicas.c.family == family, heard).order_by(replicas.c.id)
            ).all()
        return [_replica(row) for row in rows]


def _replica(row: Row[Any]) -> Replica:
    return Replica(id=row.id, role=row.role, family=row.family, loaded=row.loaded, error=row.error, seen_at=row.seen_at)
