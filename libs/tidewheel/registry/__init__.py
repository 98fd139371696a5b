"""Registered models: from a path that a user sent to a predictor in memory, or a refusal."""
