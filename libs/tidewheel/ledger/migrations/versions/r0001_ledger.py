"""The first tables."""

from alembic import op

from tidewheel.ledger.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Remove all tables."""
    metadata.drop_all(op.get_bind())
