"""Links flipped in one step, directories listed, and held under a lock while they are read or removed."""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidewheel.contracts.errors import BadBundle, BadSetting, NotFound, Unavailable
from tidewheel.disk import fsync_directory, unused_name

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Say in a sentence why `root` cannot be written.

    Raises:
        BadSetting: this user may not write there.
        Unavailable: the disk is full (code `disk_full`).
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise BadSetting(
                f"the models directory {root} cannot be written by uid {os.geteuid()} ({error.strerror}); "
                "make it writable or point its setting (MODELS_DIR, TRAINED_MODELS_DIR, MODEL_CACHE_DIR) elsewhere"
            ) from error
        if error.errno in _FULL:
            raise Unavailable(
                f"the disk of the models directory {root} is full; free some space, nothing was left half-written",
                code="disk_full",
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            raise BadSetting(f"{error.filename or root} is not what a models directory holds there") from error
        raise


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name; nothing where there is no such folder."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def replace_link(path: Path, target: str) -> None:
    """Make `path` a symlink to `target` in one step."""
    fresh = unused_name(path)
    try:
        fresh.symlink_to(target)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    fsync_directory(path.parent)


def put_aside(root: Path, path: Path) -> Path:
    """Move what is damaged below `root` out of the way, for a person to look at; where it lies now.

    Raises:
        BadSetting, Unavailable: as `writing`.
    """
    aside = path.with_name(f"{path.name}.aside-{secrets.token_hex(4)}")
    with writing(root):
        path.rename(aside)
    return aside


def link_target(link: Path) -> Path:
    """Where a link points, made absolute without following further links."""
    return Path(os.path.normpath(link.parent.absolute() / link.readlink()))


@contextmanager
def shared(path: Path) -> Iterator[int]:
    """Hold the shared lock on a directory and give its descriptor; pruning cannot remove it meanwhile.

    Raises:
        NotFound: the directory does not exist (any more).
    """
    descriptor = lock(path, fcntl.LOCK_SH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def lock(path: Path, operation: int) -> int:
    """The descriptor of a directory locked by flock; closing it releases the lock.

    Raises:
        NotFound: the directory does not exist, or went away while we waited for the lock.
        BadBundle: there is something else than a directory.
        BlockingIOError: with LOCK_NB, somebody else holds a lock.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise BadBundle(f"{path} is not a plain directory") from None
        raise
    try:
        fcntl.flock(descriptor, operation)
        if not _still_named(path, descriptor):
            raise NotFound(f"{path} was removed")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class Held:
    """An open descriptor whose lock lasts until `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the lock up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def take(self, descriptor: int) -> None:
        """Hold another one instead."""
        self.release()
        self._descriptor = descriptor


def _still_named(path: Path, descriptor: int) -> bool:
    try:
        named, held = os.lstat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def read_in(directory: int, name: str, limit: int) -> bytes:
    """The content of the plain file `name` in an open directory, when it is at most `limit` bytes.

    Raises:
        BadBundle: it is missing, a link, a device or too large.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        raise BadBundle(f"file {name} is missing") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadBundle(f"file {name} is a symbolic link") from None
        if error.errno == errno.ENXIO:  # a socket
            raise BadBundle(f"{name} is not a plain file") from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise BadBundle(f"{name} is not a plain file")
    with os.fdopen(descriptor, "rb") as stream:
        if status.st_size > limit:
            raise BadBundle(f"file {name} has {status.st_size} bytes, more than the {limit} allowed")
        return stream.read(limit + 1)
