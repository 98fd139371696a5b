"""Runs that pool the sealed candles of all streams into a regime model, for a consumer that claims their files."""
