"""Alembic's scripts; only `tidewheel ledger migrate` runs them."""
