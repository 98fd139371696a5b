"""The newest regime of each stream, for readers that must not wait for a model."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import RegimeState
from tidewheel.ledger.streams import stream_row
from tidewheel.ledger.tables import regime_state, streams


class Regimes:
    """One row a stream; it only moves forward in data time."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def upsert(
        self, key: StreamKey, data_time: UtcMillis, probs: Mapping[str, float], state: str, version: str
    ) -> bool:
        """Store the regime at the bar that opened at `data_time`; False where a newer bar's is there already.

        Raises:
            NotFound: the stream was never registered.
        """
        insert = postgresql.insert if self._db.dialect == "postgresql" else sqlite.insert
        with self._db.write() as connection:
            values = {
                "data_time": data_time,
                "probs": {name: float(value) for name, value in probs.items()},
                "state": state,
                "version": version,
                "changed_at": self._db.clock(),
            }
            written = connection.execute(
                insert(regime_state)
                .values(stream_id=stream_row(connection, key).id, **values)
                .on_conflict_do_update(
                    index_elements=[regime_state.c.stream_id],
                    set_=values,
                    where=regime_state.c.data_time <= data_time,
                )
                .returning(regime_state.c.stream_id)
            ).one_or_none()
        return written is not None

    def get(self, key: StreamKey) -> RegimeState | None:
        """The stream's newest regime, or None."""
        with self._db.read() as connection:
            row = connection.execute(_select().where(streams.c.key == str(key))).one_or_none()
        return None if row is None else _record(row)

    def all(self) -> list[RegimeState]:
        """Of every stream that has one, by key."""
        with self._db.read() as connection:
            return [_record(row) for row in connection.execute(_select().order_by(streams.c.key)).all()]


def _select() -> Select[Any]:
    return select(regime_state, streams.c.key).join(streams, streams.c.id == regime_state.c.stream_id)


def _record(row: Row[Any]) -> RegimeState:
    return RegimeState(
        key=StreamKey.parse(row.key),
        data_time=row.data_time,
        probs=row.probs,
        state=row.state,
        version=row.version,
        changed_at=row.changed_at,
    )
