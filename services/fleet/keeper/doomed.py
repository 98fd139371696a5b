"""What may go, and how much room that makes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Doomed:
    """Something on disk that may go, as `tidewheel gc` tells it."""

    path: Path
    why: str
    bytes: int  #: that its files hold
    remove: Callable[[], bool]  #: False when it came into use meanwhile
