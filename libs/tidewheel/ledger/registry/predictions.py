"""Saved predictions, and what came of them: a forecast of one close is known once its hour is stored."""

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import BadInput, Conflict
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import IntervalSource, PredictionState
from tidewheel.contracts.times import HOUR, UtcMillis, iso
from tidewheel.ledger.engine import Database
from tidewheel.ledger.registry.records import NewPrediction, SavedPrediction
from tidewheel.ledger.registry.tables import predictions
from tidewheel.ledger.tables import candles, streams

_SAME = 1e-9  #: two machines may sum in another order; a price that was revised is farther off


class Predictions:
    """What registered models forecast."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def save(self, new: NewPrediction) -> tuple[SavedPrediction, bool]:
        """The stored forecast of this version, stream, base time and horizon, and whether it is new.

        Raises:
            Conflict: `prediction_differs`: another value is stored, for the bars were revised since.
        """
        upsert = postgresql.insert if self._db.dialect == "postgresql" else sqlite.insert
        values = _values(new)
        with self._db.write() as connection:
            fresh = upsert(predictions).values(**values, created_at=self._db.clock())
            row = connection.execute(fresh.on_conflict_do_nothing().returning(predictions)).one_or_none()
            if row is not None:
                return _prediction(row), True
            stored = _same(connection, new)
        if not math.isclose(stored.predicted_value, new.predicted_value, rel_tol=_SAME):
            raise Conflict(
                f"{new.model_name} {new.model_version} has already forecast {stored.predicted_value!r} from "
                f"{iso(new.timestamp)} for {new.prediction_horizon}h on {new.stream}, and not {new.predicted_value!r}: "
                "the bars were revised since; what was saved stays",
                code="prediction_differs",
            )
        return stored, False

    def latest(
        self,
        model_name: str | None = None,
        horizon: int | None = None,
        limit: int = 10,
        *,
        model_version: str | None = None,
        stream: StreamKey | None = None,
    ) -> list[SavedPrediction]:
        """The saved predictions of the newest base times, newest first; of one model, version, ... where named."""
        query = select(predictions).order_by(predictions.c.timestamp.desc(), predictions.c.id.desc()).limit(limit)
        if model_name is not None:
            query = query.where(predictions.c.model_name == model_name)
        if stream is not None:
            query = query.where(predictions.c.stream == str(stream))
        if model_version is not None:
            query = query.where(predictions.c.model_version == model_version)
        if horizon is not None:
            query = query.where(predictions.c.prediction_horizon == horizon)
        with self._db.read() as connection:
            return [_prediction(row) for row in connection.execute(query).all()]

    def due(self) -> list[StreamKey]:
        """Streams with an open prediction whose hour is over in the stored bars, by key.

        The hour may be missing among them, where later bars are stored.
        """
        stored = select(func.max(candles.c.open_time)).where(candles.c.stream_id == streams.c.id).scalar_subquery()
        first = (
            select(predictions.c.stream, func.min(predictions.c.predicted_time).label("hour"))
            .where(predictions.c.state == PredictionState.OPEN)
            .group_by(predictions.c.stream)
            .subquery()
        )
        query = select(streams.c.key, first.c.hour, streams.c.watermark, stored.label("newest")).join(
            first, first.c.stream == streams.c.key
        )
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        waiting = [(StreamKey.parse(row.key), row) for row in rows]
        return sorted(key for key, row in waiting if row.hour + HOUR <= _reach(key, row.watermark, row.newest))

    def open_hours(self, stream: StreamKey, limit: int = 1_000) -> list[UtcMillis]:
        """The hours that open predictions of the stream wait for, the earliest first."""
        query = (
            select(predictions.c.predicted_time)
            .where(predictions.c.state == PredictionState.OPEN, predictions.c.stream == str(stream))
            .distinct()
            .order_by(predictions.c.predicted_time)
            .limit(limit)
        )
        with self._db.read() as connection:
            return list(connection.execute(query).scalars())

    def settle(self, stream: StreamKey, closes: Mapping[UtcMillis, float | None]) -> int:
        """Write down what came of the stream's open predictions of these hours; how many there were.

        None: the hour is missing for good. What is known already stays as it is.

        Args:
            closes: open time of the hour -> its close.

        Raises:
            BadInput: a close is no finite number.
        """
        for hour, close in closes.items():
            if close is not None and not math.isfinite(close):
                raise BadInput(f"the close {close} of {stream} at {iso(hour)} is no price")
        settled = 0
        with self._db.write() as connection:
            self._db.lock(connection, f"predictions:{stream}")
            for hour, close in closes.items():
                state = PredictionState.MISSING if close is None else PredictionState.KNOWN
                mine = (predictions.c.stream == str(stream)) & (predictions.c.predicted_time == hour)
                done = connection.execute(
                    update(predictions)
                    .where(mine, predictions.c.state == PredictionState.OPEN)
                    .values(state=state, actual_value=close, scored_at=self._db.clock())
                )
                settled += done.rowcount
        return settled

    def scored(
        self, model_name: str, model_version: str, stream: StreamKey, horizon: int, limit: int
    ) -> list[SavedPrediction]:
        """The version's predictions over `horizon` hours of a stream whose close is known, the newest hour first."""
        query = (
            select(predictions)
            .where(
                predictions.c.state == PredictionState.KNOWN,
                predictions.c.model_name == model_name,
                predictions.c.model_version == model_version,
                predictions.c.stream == str(stream),
                predictions.c.prediction_horizon == horizon,
            )
            .order_by(predictions.c.predicted_time.desc())
            .limit(limit)
        )
        with self._db.read() as connection:
            return [_prediction(row) for row in connection.execute(query).all()]

    def counts(
        self, model_name: str, model_version: str, stream: StreamKey | None = None
    ) -> dict[int, dict[PredictionState, int]]:
        """How many predictions of the version are open, known and missing, by horizon; of one stream where named."""
        query = (
            select(predictions.c.prediction_horizon, predictions.c.state, func.count().label("number"))
            .where(predictions.c.model_name == model_name, predictions.c.model_version == model_version)
            .group_by(predictions.c.prediction_horizon, predictions.c.state)
        )
        if stream is not None:
            query = query.where(predictions.c.stream == str(stream))
        found: dict[int, dict[PredictionState, int]] = {}
        with self._db.read() as connection:
            for row in connection.execute(query).all():
                of_horizon = found.setdefault(row.prediction_horizon, dict.fromkeys(PredictionState, 0))
                of_horizon[PredictionState(row.state)] = row.number
        return dict(sorted(found.items()))


def _reach(key: StreamKey, watermark: UtcMillis | None, newest: UtcMillis | None) -> float:
    """Where the stream's stored bars end, UTC ms."""
    ends = [watermark, None if newest is None else newest + key.step]
    return max((end for end in ends if end is not None), default=-math.inf)


def _same(connection: Connection, new: NewPrediction) -> SavedPrediction:
    values = _values(new)
    rule = ("model_name", "model_version", "stream", "timestamp", "prediction_horizon")
    query = select(predictions).where(*(predictions.c[name] == values[name] for name in rule))
    return _prediction(connection.execute(query).one())


def _values(new: NewPrediction) -> dict[str, Any]:
    return {
        "model_name": new.model_name,
        "model_version": new.model_version,
        "stream": str(new.stream),
        "timestamp": new.timestamp,
        "prediction_horizon": new.prediction_horizon,
        "predicted_time": new.predicted_time,
        "predicted_value": new.predicted_value,
        "current_price": new.current_price,
        "lower": new.lower,
        "upper": new.upper,
        "level": new.level,
        "interval_source": new.interval_source,
        "features": dict(new.features),
        "feature_signature": new.feature_signature,
        "state": PredictionState.OPEN,
    }


def _prediction(row: Row[Any]) -> SavedPrediction:
    return SavedPrediction(
        id=row.id,
        model_name=row.model_name,
        model_version=row.model_version,
        stream=StreamKey.parse(row.stream),
        timestamp=row.timestamp,
        prediction_horizon=row.prediction_horizon,
        predicted_time=row.predicted_time,
        predicted_value=row.predicted_value,
        current_price=row.current_price,
        lower=row.lower,
        upper=row.upper,
        level=row.level,
        interval_source=IntervalSource(row.interval_source),
        features=row.features,
        feature_signature=row.feature_signature,
        created_at=row.created_at,
        state=PredictionState(row.state),
        actual_value=row.actual_value,
        scored_at=row.scored_at,
    )
