"""Pure: which preset to use, what its outcomes teach, and what a log says of one that was seldom used."""
