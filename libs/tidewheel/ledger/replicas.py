"""Who serves what, and who lives: heartbeats of the predictors, and of the trainers, who serve nothing."""

from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Replica
from tidewheel.ledger.tables import replicas


class Replicas:
    """Processes as they last said of themselves; one that serves no family calls it the empty name."""

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

    def hears_of(self, role: str, within_ms: int = 15_000) -> bool:
        """Whether any process of that role was heard of in the last `within_ms`, whatever it serves."""
        heard = replicas.c.seen_at > self._db.clock() - within_ms
        with self._db.read() as connection:
            found = connection.execute(select(replicas.c.id).where(replicas.c.role == role, heard).limit(1))
            return found.one_or_none() is not None


def _replica(row: Row[Any]) -> Replica:
    return Replica(id=row.id, role=row.role, family=row.family, loaded=row.loaded, error=row.error, seen_at=row.seen_at)
