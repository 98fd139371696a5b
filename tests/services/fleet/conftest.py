"""Folders for the fleet's tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def roomy_tmp() -> Iterator[Path]:
    """A temporary folder that every user may enter: as root, Postgres runs as nobody (tmp_path is 0700)."""
    folder = Path(tempfile.mkdtemp(prefix="tidewheel-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
