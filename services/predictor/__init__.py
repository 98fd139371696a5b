"""Serves the current model and reloads it without dropping a request."""
