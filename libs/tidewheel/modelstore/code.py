"""Which code made a model."""

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

_PACKAGES = ("tidewheel.features", "tidewheel.models")


def code_digest() -> str:
    """sha256 over the names and sources of the modules that turn bars into features and features into a model."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for module in sorted((entry for entry in files(package).iterdir() if _is_source(entry)), key=_name):
            digest.update(f"{package}/{module.name}\n".encode())
            digest.update(hashlib.sha256(module.read_bytes()).digest())
    return digest.hexdigest()


def _is_source(entry: Traversable) -> bool:
    return entry.name.endswith(".py")


def _name(entry: Traversable) -> str:
    return entry.name
