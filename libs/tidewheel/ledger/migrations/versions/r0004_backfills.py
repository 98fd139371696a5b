"""History that is fetched, each with its own cursor."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add `backfills`."""
    op.create_table(
        "backfills",
        sa.Column("id", _ID, nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fetched", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_backfills"),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name="fk_backfills_stream_id"),
        sa.UniqueConstraint("stream_id", "start_time", "end_time", name="uq_backfills_stream_id_start_time_end_time"),
        sqlite_autoincrement=True,
    )
