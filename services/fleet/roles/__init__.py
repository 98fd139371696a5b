"""A role in the foreground: its settings, its parts, what keeps it running."""
