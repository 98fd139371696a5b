"""Who did what to presets, posteriors and switches, and why. Nothing is ever taken out."""

import builtins

from sqlalchemy import Connection, insert, select

from tidewheel.ledger.control.records import AuditEntry
from tidewheel.ledger.control.tables import audit
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Json


class Audit:
    """The deeds of people and guardrails."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self, limit: int = 100, subject: str | None = None) -> builtins.list[AuditEntry]:
        """The newest entries, newest first; of one subject where it is named."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        return [
            AuditEntry(
                id=row.id,
                at=row.at,
                actor=row.actor,
                action=row.action,
                subject=row.subject,
                reason=row.reason,
                detail=row.detail,
            )
            for row in rows
        ]


def write_down(
    db: Database, connection: Connection, actor: str, action: str, subject: str, reason: str, detail: Json
) -> None:
    """Write an entry inside the transaction that does the deed."""
    connection.execute(
        insert(audit).values(
            at=db.clock(), actor=actor, action=action, subject=subject, reason=reason, detail=dict(detail)
        )
    )
