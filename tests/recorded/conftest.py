"""Tests on recorded candles are collected only where TIDEWHEEL_CANDLES names a folder that holds them."""

import os
from pathlib import Path

import pytest

collect_ignore_glob = [] if os.environ.get("TIDEWHEEL_CANDLES") else ["test_*.py"]


@pytest.fixture
def candles() -> Path:
    """The folder of recorded candles."""
    return Path(os.environ["TIDEWHEEL_CANDLES"])
