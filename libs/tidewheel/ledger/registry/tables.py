"""The tables of the model registry, for both dialects; private to the ledger, as `tables.py` is."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from tidewheel.ledger.tables import Id, Json, metadata

_OPEN, _KNOWN = text("state = 'open'"), text("state = 'known'")

ml_models = Table(
    "ml_models",
    metadata,
    Column("id", Id, primary_key=True, doc="in the order of registration"),
    Column("model_name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("model_type", Text, nullable=False),
    Column("prediction_horizons", Json, nullable=False, doc="hours"),
    Column("file_path", Text, nullable=False, doc="relative to TRAINED_MODELS_DIR"),
    Column("feature_config", Json, doc="as it was registered; null: the base features for every horizon"),
    Column("is_active", Integer, nullable=False, server_default="1", doc="1 or 0"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("digest", Text, nullable=False, doc="of content and meaning"),
    Column("content_digest", Text, nullable=False, doc="sha256 of the file as it was registered"),
    Column("format", Text, nullable=False),
    Column("feature_signatures", Json, nullable=False, doc="horizon -> what the columns of its input mean"),
    Column("outputs", Integer, doc="numbers that a row of features gives; null before a trusted load"),
    Column("trusted", Boolean, nullable=False, doc="whether anything of it is loaded"),
    Column("converted_path", Text, doc="what is loaded in its place, relative to TRAINED_MODELS_DIR"),
    Column("converted_digest", Text, doc="sha256 of that"),
    Column("stream", Text, doc="whose bars it was trained on; null where that is not known"),
    Column("data_as_of", BigInteger, doc="newest data that it has seen; null where that is not known"),
    Column("origin", Text, doc="of that stream; null where that is not known"),
    Column("run_id", Id, ForeignKey("runs.id"), doc="the run that first published it; null for a user's"),
    Column("metrics", Json, nullable=False),
    Column("reference", Json, doc="feature -> how it was distributed where the model was fitted"),
    Column("registered_by", Text, nullable=False),
    UniqueConstraint("model_name", "version"),
    UniqueConstraint("model_name", "digest"),
    Index("ix_ml_models_content_digest", "content_digest"),
    sqlite_autoincrement=True,
)

model_verdicts = Table(
    "model_verdicts",
    metadata,
    Column("run_id", Id, ForeignKey("runs.id"), primary_key=True, autoincrement=False),
    Column("model_name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("steps", Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    ForeignKeyConstraint(["model_name", "version"], ["ml_models.model_name", "ml_models.version"]),
    Index("ix_model_verdicts_model_name_version", "model_name", "version"),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("previous", Text, doc="version that it named before; null for its first"),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("run_id", Id, ForeignKey("runs.id"), doc="the run whose publish moved it"),
    Column("created_at", BigInteger, nullable=False),
    ForeignKeyConstraint(["model_name", "version"], ["ml_models.model_name", "ml_models.version"]),
    Index("ix_model_aliases_model_name_alias_id", "model_name", "alias", "id"),
    sqlite_autoincrement=True,
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("timestamp", BigInteger, nullable=False, doc="base time: open time of the last hour that was known"),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("stream", Text, ForeignKey("streams.key"), nullable=False),
    Column("prediction_horizon", Integer, nullable=False, doc="hours"),
    Column("predicted_time", BigInteger, nullable=False, doc="open time of the hour whose close is predicted"),
    Column("predicted_value", Double, nullable=False, doc="that close"),
    Column("current_price", Double, nullable=False, doc="close of the hour at base time"),
    Column("lower", Double, doc="of the interval; null where there is none"),
    Column("upper", Double),
    Column("level", Double, doc="share of outcomes that the interval is meant to hold"),
    Column("interval_source", Text, nullable=False),
    Column("features", Json, nullable=False, doc="name -> number, as the model read them"),
    Column("feature_signature", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("actual_value", Double, doc="the close that came; null while it is not known"),
    Column("scored_at", BigInteger, doc="when that was learnt, or that it will not be"),
    UniqueConstraint(
        *("model_name", "model_version", "stream", "timestamp", "prediction_horizon"), name="uq_predictions_once"
    ),
    ForeignKeyConstraint(["model_name", "model_version"], ["ml_models.model_name", "ml_models.version"]),
    # The newest: of all, of a model, of a horizon, of both.
    Index("ix_predictions_timestamp", "timestamp"),
    Index("ix_predictions_model_name_timestamp", "model_name", "timestamp"),
    Index("ix_predictions_prediction_horizon_timestamp", "prediction_horizon", "timestamp"),
    Index("ix_predictions_of_both_timestamp", "model_name", "prediction_horizon", "timestamp"),
    # Those that wait for their hour, and those whose hour came, of a version and of its stream and horizon.
    Index("ix_predictions_open", "stream", "predicted_time", postgresql_where=_OPEN, sqlite_where=_OPEN),
    Index(
        "ix_predictions_known",
        *("model_name", "model_version", "predicted_time"),
        postgresql_where=_KNOWN,
        sqlite_where=_KNOWN,
    ),
    Index(
        "ix_predictions_known_of_stream",
        *("model_name", "model_version", "stream", "prediction_horizon", "predicted_time"),
        postgresql_where=_KNOWN,
        sqlite_where=_KNOWN,
    ),
    sqlite_autoincrement=True,
)
