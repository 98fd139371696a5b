"""Who put a poison file back."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add `claims.requeued_by`."""
    op.add_column("claims", sa.Column("requeued_by", sa.Text()))
