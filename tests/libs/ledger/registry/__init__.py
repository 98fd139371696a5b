"""Tests of the model registry in the ledger."""
