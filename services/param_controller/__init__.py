"""Chooses strategy parameters for engines, within bounds, and learns from what came of them."""
