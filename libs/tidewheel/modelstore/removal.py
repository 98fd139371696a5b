"""Out of the models directory: what dead processes left behind, and any directory that nobody holds."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tidewheel.contracts.errors import NotFound
from tidewheel.disk import is_unused_name, unused_name
from tidewheel.modelstore.files import entries, lock, writing

STAGED = ".staged"  #: folder of a family's bundles that are not published yet
_OLD = 60.0  #: seconds in which a stager surely holds its lock


def leftovers(models_dir: Path) -> list[Path]:
    """Staged bundles, half-removed ones and unused links, old enough that a living owner holds a lock on them."""
    families = [entry for entry in entries(models_dir) if entry.is_dir() and not entry.is_symlink()]
    return [
        leftover
        for folder in (models_dir, *families)
        for leftover in (
            *filter(is_unused_name, entries(folder)),
            *entries(folder / STAGED),
        )
        if _is_old(leftover)
    ]


def remove(models_dir: Path, path: Path, in_use: Callable[[str], bool] = lambda _: False) -> bool:
    """Move a directory below `models_dir` that nobody holds out of sight, and delete it; False when it is in use.

    Args:
        models_dir: named in errors.
        path: a directory; a file or link is deleted at once.
        in_use: asked with the directory's name when nobody can hold it any more.

    Raises:
        BadBundle: `path` is neither a directory, nor a file or link.
        BadSetting: the models directory is read-only.
    """
    with writing(models_dir):
        if path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
            return True
        with _exclusive(path) as free:
            if not free or in_use(path.name):
                return False
            doomed = unused_name(path)
            path.rename(doomed)
            shutil.rmtree(doomed)
    return True


@contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    """Whether the exclusive lock on a directory could be had at once."""
    try:
        descriptor = lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, NotFound):
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > _OLD
    except FileNotFoundError:
        return False
