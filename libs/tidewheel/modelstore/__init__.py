"""Immutable model bundles on disk, and their live reload."""
