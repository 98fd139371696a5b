"""Fetches closed candles and seals them into the ledger."""
