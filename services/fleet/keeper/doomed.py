"""What may go, and how much room that makes."""

import os
import stat
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


def held_bytes(path: Path) -> int:
    """Bytes of a file, or of all plain files below a folder; what vanishes meanwhile counts nothing."""
    paths = (
        [path]
        if not path.is_dir() or path.is_symlink()
        else [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    )
    total = 0
    for each in paths:
        try:
            status = each.lstat()
        except FileNotFoundError:
            continue
        total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
