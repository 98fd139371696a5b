"""One file a model; pure, seeded, checked by one suite."""
