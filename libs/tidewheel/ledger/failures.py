"""What last went wrong with each stream: most attempts are made while nobody looks."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, case, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Failure
from tidewheel.ledger.tables import stream_failures as failures


class Failures:
    """One row a stream, kept after it is over."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def note(self, stream: str, code: str, detail: str) -> None:
        """Write down that an attempt on `stream` failed; the first since a success begins a new series.

        `stream` is the key as far as it was known: a symbol that the exchange could not be asked about stays as the
        user wrote it.
        """
        insert = postgresql.insert if self._db.dialect == "postgresql" else sqlite.insert
        now = self._db.clock()
        new = insert(failures).values(stream=stream, code=code, detail=detail, times=1, since=now, failed_at=now)
        goes_on = failures.c.over_at.is_(None)
        with self._db.write() as connection:
            connection.execute(
                new.on_conflict_do_update(
                    index_elements=[failures.c.stream],
                    set_={
                        "code": code,
                        "detail": detail,
                        "times": case((goes_on, failures.c.times + 1), else_=1),
                        "since": case((goes_on, failures.c.since), else_=now),
                        "failed_at": now,
                        "over_at": None,
                    },
                )
            )

    def over(self, streams: Iterable[str]) -> None:
        """Write down that the streams went well; without a write where nothing had failed."""
        failing = failures.c.stream.in_(list(streams)) & failures.c.over_at.is_(None)
        with self._db.read() as connection:
            if connection.execute(select(failures.c.stream).where(failing)).first() is None:
                return
        with self._db.write() as connection:
            connection.execute(update(failures).where(failing).values(over_at=self._db.clock()))

    def all(self) -> list[Failure]:
        """The last failure of each stream that ever had one, by stream."""
        with self._db.read() as connection:
            return [_failure(row) for row in connection.execute(select(failures).order_by(failures.c.stream)).all()]


def _failure(row: Row[Any]) -> Failure:
    return Failure(
        stream=row.stream,
        code=row.code,
        detail=row.detail,
        times=row.times,
        since=row.since,
        failed_at=row.failed_at,
        over_at=row.over_at,
    )
