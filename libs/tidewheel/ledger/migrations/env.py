"""Alembic's entry: runs on the connection, and inside the transaction, that `tidewheel.ledger.schema` hands over."""

from alembic import context

from tidewheel.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
