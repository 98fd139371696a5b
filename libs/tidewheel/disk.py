"""Files that a crash leaves whole or not there at all, and the room that they take."""

import os
import re
import secrets
import stat
from pathlib import Path

_UNUSED = re.compile(r"\..+-[0-9a-f]{12}")


def write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Create `path`, write every byte and fsync it; its name is durable once its folder is synced.

    A full disk can shorten a write without an error, so the loop goes on until all is out.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: a reader sees the old file or the new one."""
    fresh = unused_name(path)
    try:
        write_durably(fresh, content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    fsync_directory(path.parent)


def unused_name(path: Path) -> Path:
    """A hidden neighbour of `path` that nobody else uses."""
    return path.with_name(f".{path.name}-{secrets.token_hex(6)}")


def is_unused_name(path: Path) -> bool:
    """Whether `unused_name` made it: any other hidden file is somebody's, and not for us to remove."""
    return _UNUSED.fullmatch(path.name) is not None


def make_folders(folder: Path) -> None:
    """Create `folder`; each created level is made durable in the one above it."""
    missing = [level for level in (folder, *folder.parents) if not level.exists()]
    for level in reversed(missing):
        level.mkdir(exist_ok=True)
        fsync_directory(level.parent)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
