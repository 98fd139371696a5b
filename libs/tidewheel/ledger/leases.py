"""Leases with fencing tokens.

A lease is a right that ends by itself, or at once where its holder's process is seen to be gone (`pulse`). Its
fence grows with every grant, so a holder that slept through the end of its lease presents an old one, and the write
is refused (Kleppmann, "How to do distributed locking", 2016).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import ColumnElement, Connection, Row, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import FenceLost, LeaseTaken, NotFound, Unavailable
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Lease
from tidewheel.ledger.tables import counters, fence_sequence, leases

_TOLD = 50  #: most leases that a refusal lists
_LOOK_SECONDS = 0.1  #: how often a lease that is waited for is asked for


class Leases:
    """Who may write as what, until when."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def acquire(self, name: str, owner: str, ttl_ms: int) -> Lease | None:
        """Take the lease for `ttl_ms`; None while somebody holds it."""
        with self._db.write() as connection:
            return acquire(self._db, connection, name, owner, ttl_ms)

    def renew(self, lease: Lease, ttl_ms: int) -> Lease:
        """The same right for `ttl_ms` from now.

        Raises:
            FenceLost: it had ended, or somebody took it over.
        """
        with self._db.write() as connection:
            return renew(self._db, connection, lease, ttl_ms)

    def release(self, lease: Lease) -> None:
        """End the right; without effect where it was lost already."""
        with self._db.write() as connection:
            release(connection, lease)

    def end(self, name: str) -> Lease:
        """End the right called `name`, whoever holds it; what it was. Its holder's next write is refused.

        Raises:
            NotFound: nobody holds it.
        """
        with self._db.write() as connection:
            held = (leases.c.name == name) & (leases.c.until > self._db.clock())
            row = connection.execute(select(leases).where(held).with_for_update()).one_or_none()
            if row is None:
                known = ", ".join(self._held(connection)) or "none"
                raise NotFound(f"nobody holds a lease called {name!r}; held now: {known}")
            release(connection, _lease(row))
            return _lease(row)

    def _held(self, connection: Connection) -> list[str]:
        names = select(leases.c.name).where(leases.c.until > self._db.clock()).order_by(leases.c.name)
        return list(connection.execute(names.limit(_TOLD)).scalars())

    def get(self, name: str) -> Lease | None:
        """The lease, where somebody holds it now."""
        with self._db.read() as connection:
            row = connection.execute(
                select(leases).where(leases.c.name == name, leases.c.until > self._db.clock())
            ).one_or_none()
        return None if row is None else _lease(row)

    @contextmanager
    def hold(self, name: str, owner: str, ttl_ms: int, wait_seconds: float = 0.0) -> Iterator["HeldLease"]:
        """Hold the lease for the block, renewed by a thread each third of `ttl_ms`.

        Raises:
            LeaseTaken: somebody else (`holder`) held it all the while of `wait_seconds`.
        """
        deadline = time.monotonic() + wait_seconds
        while (lease := self.acquire(name, owner, ttl_ms)) is None:
            if time.monotonic() >= deadline:
                found = self.get(name)
                holder = found.owner if found else "another process"
                raise LeaseTaken(f"{name} is held by {holder}; try again when it is done", holder=holder)
            time.sleep(_LOOK_SECONDS)
        held = HeldLease(self, lease, ttl_ms)
        try:
            yield held
        finally:
            held.stop()
            with suppress(Unavailable):  # it ends by itself
                self.release(held.lease)


class HeldLease:
    """A lease with its heartbeat. Check `lost` between steps; guarded writes are refused in any case."""

    def __init__(self, leases: Leases, lease: Lease, ttl_ms: int) -> None:
        self.lease = lease
        self.lost = threading.Event()  #: set once the right has ended without our doing
        self._leases, self._ttl_ms = leases, ttl_ms
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {lease.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the heartbeat."""
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        ends = time.monotonic() + self._ttl_ms / 1000
        while not self._stop.wait(self._ttl_ms / 3000):
            asked = time.monotonic()
            try:
                self.lease = self._leases.renew(self.lease, self._ttl_ms)
            except FenceLost:
                self.lost.set()
                return
            except Unavailable:
                # The ledger may be back before the lease ends; after that the right is gone in any case.
                if time.monotonic() >= ends:
                    self.lost.set()
                    return
            else:
                ends = asked + self._ttl_ms / 1000


def acquire(db: Database, connection: Connection, name: str, owner: str, ttl_ms: int) -> Lease | None:
    """Take the lease inside the caller's transaction; None while a living process holds it."""
    insert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    fence, until, pulse = _next_fence(db, connection), db.clock() + ttl_ms, db.pulse.beat()
    take = (
        insert(leases)
        .values(name=name, owner=owner, fence=fence, until=until, pulse=pulse)
        .on_conflict_do_update(
            index_elements=[leases.c.name],
            # Not excluded.fence: that was drawn before waiting for the row, and a later grant may lie between.
            set_={"owner": owner, "fence": fence, "until": until, "pulse": pulse},
            where=leases.c.until <= db.clock(),
        )
        .returning(leases)
    )
    row = connection.execute(take).one_or_none()
    if row is None and _end_of_the_dead(db, connection, name):
        row = connection.execute(take).one()  # the first try has locked it, though it changed nothing
    return None if row is None else _lease(row)


def _end_of_the_dead(db: Database, connection: Connection, name: str) -> bool:
    """End the lease where its holder's process is gone; whether it was."""
    holder = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
    if holder is None or not db.pulse.stopped(connection, holder.pulse):
        return False
    release(connection, _lease(holder))
    return True


def renew(db: Database, connection: Connection, lease: Lease, ttl_ms: int) -> Lease:
    """Prolong the lease inside the caller's transaction; FenceLost where it had ended."""
    db.pulse.beat()
    row = connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.fence == lease.fence, leases.c.until > db.clock())
        .values(until=db.clock() + ttl_ms)
        .returning(leases)
    ).one_or_none()
    if row is None:
        raise _lost(lease)
    return _lease(row)


def release(connection: Connection, lease: Lease) -> None:
    """End the right inside the caller's transaction."""
    connection.execute(update(leases).where(leases.c.name == lease.name, leases.c.fence == lease.fence).values(until=0))


def guard(db: Database, connection: Connection, lease: Lease) -> None:
    """Hold the lease's row until the caller's transaction ends: every guarded write starts with this.

    Raises:
        FenceLost: the right has ended; the transaction writes nothing.
    """
    found = connection.execute(
        select(leases.c.fence)
        .where(leases.c.name == lease.name, leases.c.fence == lease.fence, leases.c.until > db.clock())
        .with_for_update()
    ).one_or_none()
    if found is None:
        raise _lost(lease)


def _next_fence(db: Database, connection: Connection) -> ColumnElement[int] | int:
    if db.dialect == "postgresql":
        return fence_sequence.next_value()
    bump = update(counters).where(counters.c.name == "fence").values(value=counters.c.value + 1)
    return int(connection.execute(bump.returning(counters.c.value)).scalar_one())


def _lease(row: Row[tuple[str, str, int, int, int]]) -> Lease:
    return Lease(name=row.name, owner=row.owner, fence=row.fence, until=row.until)


def _lost(lease: Lease) -> FenceLost:
    return FenceLost(f"{lease.owner} no longer holds {lease.name} (fence {lease.fence}); nothing was written")
