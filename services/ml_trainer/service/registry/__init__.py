"""Runs that fit one stream's hours into a version of a registered model; they claim no files, and none is consumed."""
