"""The `tidewheel` command: one role, the whole fleet on one machine, the demo."""
