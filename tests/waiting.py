"""Waiting for what other threads and processes do: for the condition, with a limit that only says it never came."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for a condition. The limit is long because the machine may be busy with much else."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen in {seconds:g} s"
        time.sleep(0.02)
