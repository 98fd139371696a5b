"""One file a format: `check(content)` refuses what is not sound, `load(content)` gives a regressor."""
