"""Hints that a transaction leaves behind, sent after its commit: a crash between the two loses nothing."""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select

from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Event, Json
from tidewheel.ledger.tables import outbox


class Outbox:
    """What must still be sent. Sending is at least once; every receiver only looks at the ledger."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def pending(self, limit: int = 100) -> list[Event]:
        """The oldest unsent hints."""
        with self._db.read() as connection:
            rows = connection.execute(select(outbox).order_by(outbox.c.id).limit(limit)).all()
        return [Event(id=row.id, topic=row.topic, payload=row.payload, created_at=row.created_at) for row in rows]

    def sent(self, ids: Iterable[int]) -> None:
        """Forget hints that were sent; they carry nothing that the other tables do not say."""
        with self._db.write() as connection:
            connection.execute(delete(outbox).where(outbox.c.id.in_(list(ids))))


def post(db: Database, connection: Connection, topic: str, payload: Json) -> None:
    """Leave a hint inside the caller's transaction; `topic` is a task name or "bus:<channel>"."""
    connection.execute(insert(outbox).values(topic=topic, payload=dict(payload), created_at=db.clock()))
