"""Trains models on claimed candles and publishes what the gate passes."""
