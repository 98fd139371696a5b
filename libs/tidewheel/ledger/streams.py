"""Streams: which series of candles there are, where each comes from and how far it is sealed."""

from typing import Any

from sqlalchemy import Connection, func, select

from tidewheel.contracts.errors import Conflict, NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import GapState, Origin
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Stream
from tidewheel.ledger.tables import candles, files, gaps, streams


class Streams:
    """The streams of this ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, key: StreamKey, origin: Origin) -> Stream:
        """Make the stream known; the first call sets its origin for good.

        Raises:
            Conflict: it is already known with another origin (`origin_mismatch`).
        """
        with self._database.write() as tx:
            self._insert_once(tx, key, origin)
            known = _record(tx, stream_row(tx, key))
        if known.origin != origin:
            raise Conflict(
                f"stream {key} holds {known.origin} candles and never mixes; {origin} candles need a ledger of their "
                "own (set TIDEWHEEL_HOME or LEDGER_DB)",
                code="origin_mismatch",
            )
        return known

    def get(self, key: StreamKey) -> Stream | None:
        """The stream, or None when no candle of it was ever announced."""
        with self._database.read() as tx:
            row = tx.execute(select(streams).where(streams.c.key == str(key))).one_or_none()
            return None if row is None else _record(tx, row)

    def all(self) -> list[Stream]:
        """All streams by key."""
        with self._database.read() as tx:
            return [_record(tx, row) for row in tx.execute(select(streams).order_by(streams.c.key)).all()]


