"""The model registry: models, their verdicts and aliases, their predictions."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_JSON = sa.JSON(none_as_null=True)
_OPEN, _KNOWN = sa.text("state = 'open'"), sa.text("state = 'known'")


def upgrade() -> None:
    """Add the tables."""
    _models()
    _predictions()


def _models() -> None:
    op.create_table(
        "ml_models",
        sa.Column("id", _ID, nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("model_type", sa.Text(), nullable=False),
        sa.Column("prediction_horizons", _JSON, nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("feature_config", _JSON),
        sa.Column("is_active", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("feature_signatures", _JSON, nullable=False),
        sa.Column("outputs", sa.Integer()),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("converted_path", sa.Text()),
        sa.Column("converted_digest", sa.Text()),
        sa.Column("stream", sa.Text()),
        sa.Column("data_as_of", sa.BigInteger()),
        sa.Column("origin", sa.Text()),
        sa.Column("run_id", _ID),
        sa.Column("metrics", _JSON, nullable=False),
        sa.Column("reference", _JSON),
        sa.Column("registered_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ml_models"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_ml_models_run_id"),
        sa.UniqueConstraint("model_name", "version", name="uq_ml_models_model_name_version"),
        sa.UniqueConstraint("model_name", "digest", name="uq_ml_models_model_name_digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ml_models_content_digest", "ml_models", ["content_digest"])
    op.create_table(
        "model_verdicts",
        sa.Column("run_id", _ID, autoincrement=False, nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("steps", _JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_model_verdicts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_model_verdicts_run_id"),
        _of_a_model("model_verdicts", "version"),
    )
    op.create_index("ix_model_verdicts_model_name_version", "model_verdicts", ["model_name", "version"])
    op.create_table(
        "model_aliases",
        sa.Column("id", _ID, nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("run_id", _ID),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_aliases"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_model_aliases_run_id"),
        _of_a_model("model_aliases", "version"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_model_aliases_model_name_alias_id", "model_aliases", ["model_name", "alias", "id"])


def _predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("prediction_horizon", sa.Integer(), nullable=False),
        sa.Column("predicted_time", sa.BigInteger(), nullable=False),
        sa.Column("predicted_value", sa.Double(), nullable=False),
        sa.Column("current_price", sa.Double(), nullable=False),
        sa.Column("lower", sa.Double()),
        sa.Column("upper", sa.Double()),
        sa.Column("level", sa.Double()),
        sa.Column("interval_source", sa.Text(), nullable=False),
        sa.Column("features", _JSON, nullable=False),
        sa.Column("feature_signature", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actual_value", sa.Double()),
        sa.Column("scored_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_predictions"),
        sa.ForeignKeyConstraint(["stream"], ["streams.key"], name="fk_predictions_stream"),
        _of_a_model("predictions", "model_version"),
        sa.UniqueConstraint(
            *("model_name", "model_version", "stream", "timestamp", "prediction_horizon"),
            name="uq_predictions_once",
        ),
        sqlite_autoincrement=True,
    )
    for name, columns, where in (
        ("timestamp", ["timestamp"], None),
        ("model_name_timestamp", ["model_name", "timestamp"], None),
        ("prediction_horizon_timestamp", ["prediction_horizon", "timestamp"], None),
        ("of_both_timestamp", ["model_name", "prediction_horizon", "timestamp"], None),
        ("open", ["stream", "predicted_time"], _OPEN),
        ("known", ["model_name", "model_version", "predicted_time"], _KNOWN),
        (
            "known_of_stream",
            ["model_name", "model_version", "stream", "prediction_horizon", "predicted_time"],
            _KNOWN,
        ),
    ):
        op.create_index(f"ix_predictions_{name}", "predictions", columns, postgresql_where=where, sqlite_where=where)


def _of_a_model(table: str, version: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["model_name", version], ["ml_models.model_name", "ml_models.version"], name=f"fk_{table}_model_name_{version}"
    )
