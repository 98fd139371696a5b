"""A sign of life that ends with its process, so that what a dead one held need not wait for its time to run out.

Each process that holds leases also holds one lock: an advisory lock of a session on Postgres, a flock on a file
beside the database on SQLite. The system frees it the moment the process is gone. It is only a hint: a free lock
lets a lease be taken over early, and the fence alone keeps the former holder from writing.
"""

import fcntl
import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError


class Pulse:
    """This process's lock, and the question whether another's is still held. Safe for threads and forks."""

    def __init__(self, place: Engine | Path) -> None:
        """`place` is an engine without a pool, to make a session of its own, or the folder of the lock files."""
        self._place = place
        self._turn = threading.Lock()
        self._id, self._pid = 0, 0
        self._held: int | Connection | None = None  #: a file descriptor, or a session of its own

    def beat(self) -> int:
        """Hold the lock, again where its session was lost; the id by which others know it."""
        with self._turn:
            if self._pid != os.getpid():
                # What a parent holds is the parent's: neither used nor closed here.
                self._id, self._pid, self._held = secrets.randbits(62) + 1, os.getpid(), None
            if isinstance(self._place, Path):
                self._held = self._held or self._lock_file(self._place)
            elif not self._session_lives():
                self._held = self._lock_session(self._place)
            return self._id

    def stopped(self, connection: Connection, pulse: int) -> bool:
        """Whether nobody holds the lock of that id any more; asks inside the caller's transaction."""
        if isinstance(self._place, Path):
            return _unlocked(self._place / str(pulse))
        return bool(connection.execute(select(func.pg_try_advisory_xact_lock(pulse))).scalar_one())

    def close(self) -> None:
        """End the pulse; what this process still holds may be taken over."""
        with self._turn:
            held, self._held = self._held, None
            if held is None or self._pid != os.getpid():
                return
            if isinstance(held, Connection):
                with suppress(DBAPIError):
                    held.close()
            else:
                os.close(held)

    def _lock_file(self, folder: Path) -> int:
        folder.mkdir(exist_ok=True)
        for left_behind in folder.iterdir():
            _unlocked(left_behind)
        file = folder / str(self._id)
        while True:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)  # somebody took it for left behind before we had locked it

    def _lock_session(self, engine: Engine) -> Connection:
        session = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        session.execute(select(func.pg_advisory_lock(self._id)))
        return session

    def _session_lives(self) -> bool:
        if not isinstance(self._held, Connection):
            return False
        try:
            self._held.execute(select(1))
        except DBAPIError:
            with suppress(DBAPIError):
                self._held.close()
            return False
        return True


def _unlocked(file: Path) -> bool:
    """Whether nobody holds the lock on `file`; then it is removed."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
