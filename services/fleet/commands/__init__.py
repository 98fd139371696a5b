"""The commands of `tidewheel`, a module each group."""
