"""Tidewheel: the model loop of a trading desk."""
