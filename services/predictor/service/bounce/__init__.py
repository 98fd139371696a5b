"""BounceHunter over HTTP: scans, the runs that they order, the entries that they are answered with."""
