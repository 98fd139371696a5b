"""One database: its address, its transactions and its clock, the same on both dialects."""

import json
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Engine, create_engine, event, func, literal, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    InterfaceError,
    OperationalError,
    StatementError,
)
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, Pool, QueuePool
from sqlalchemy.types import BigInteger

from tidewheel.contracts.errors import BadInput, BadSetting, Unavailable
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.pulse import Pulse

BUSY_SECONDS = 15  #: how long a statement waits for another's lock, both dialects
CONNECT_SECONDS = 5  #: how long a connection attempt to Postgres may take
_WRITES = "tidewheel_writes"


class Database:
    """Transactions on one database. Safe for threads, and for processes forked after it was built."""

    def __init__(self, dsn: str) -> None:
        """Take the address; nothing is connected yet.

        Raises:
            BadSetting: `dsn` is not the address of a SQLite file or of a Postgres database.
        """
        self.url = parse_dsn(dsn)
        self.dialect = self.url.get_backend_name()  #: "sqlite" or "postgresql"
        self.engine = _sqlite_engine(self.url) if self.dialect == "sqlite" else _postgres_engine(self.url)
        _forget_connections_of_the_parent(self.engine)
        self.pulse = Pulse(
            self.path.with_name(f"{self.path.name}.pulse") if self.path else _postgres_engine(self.url, NullPool)
        )

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @property
    def path(self) -> Path | None:
        """The file of a SQLite ledger; None on Postgres."""
        return Path(self.url.database or "") if self.dialect == "sqlite" else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends well, and otherwise leaves nothing behind.

        On SQLite it takes the write lock at once (BEGIN IMMEDIATE), so that no reader ever needs to become a writer.
        """
        with self._translated(), self.engine.connect() as connection:
            connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """A transaction that can only read; on SQLite, and where `snapshot`, all its statements see one moment."""
        with self._translated(), self.engine.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(postgresql_readonly=True)
                if snapshot:
                    connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin() as transaction:
                yield connection
                transaction.rollback()

    def clock(self) -> ColumnElement[int]:
        """The ledger's clock in UTC ms, for use inside a statement: the server's, or on SQLite the host's."""
        if self.dialect == "sqlite":
            return literal(time.time_ns() // 1_000_000, BigInteger)
        return func.floor(func.extract("epoch", func.clock_timestamp()) * 1000).cast(BigInteger)

    def now(self, connection: Connection) -> UtcMillis:
        """The ledger's clock, UTC ms."""
        return int(connection.execute(select(self.clock())).scalar_one())

    def lock(self, connection: Connection, name: str) -> None:
        """Let one transaction at a time pass for this name; on SQLite the write lock already does."""
        if self.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self.pulse.close()
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OverflowError, DataError) as error:  # SQLite's driver has the one for a number, Postgres the other
            raise BadInput(f"a value is none that the ledger can hold: {_first_line(error)}; send another") from None
        except (OperationalError, InterfaceError) as error:
            raise Unavailable(
                f"the ledger at {self} cannot be used now: {_first_line(error.orig)}; mend that, or correct LEDGER_DB"
            ) from error
        except StatementError as error:
            if type(error) is DatabaseError:  # SQLite's word for a file that is damaged, or no database at all
                raise Unavailable(
                    f"the ledger at {self} cannot be read: {_first_line(error.orig)}; correct LEDGER_DB"
                ) from error
            if isinstance(error.orig, BadInput):
                raise error.orig from None  # SQLAlchemy wraps what _dumps raises, on one of the dialects
            raise


def parse_dsn(dsn: str) -> URL:
    """`postgresql://user:password@host:port/name`, `sqlite:///file`, or the path of a SQLite file.

    Raises:
        BadSetting: it is none of these.
    """
    remedy = "write sqlite:////absolute/file.sqlite, a file's path, or postgresql://user:password@host:5432/name"
    if "://" not in dsn:
        if not dsn.strip():
            raise BadSetting(f"the ledger's address is empty; {remedy}")
        return URL.create("sqlite+pysqlite", database=str(Path(dsn).expanduser().absolute()))
    scheme = dsn.partition("://")[0]
    try:
        url = make_url(dsn)
    except (ArgumentError, ValueError):  # a port that is not a number is a ValueError
        raise BadSetting(f"the ledger's address ({scheme}://...) cannot be read; {remedy}") from None
    backend = "postgresql" if scheme == "postgres" else url.get_backend_name()
    if backend == "postgresql":
        if not url.database:
            raise BadSetting(f"the ledger's address {url.render_as_string()} names no database; {remedy}")
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise BadSetting(f"the ledger's address {dsn!r} names no file, and processes must share it; {remedy}")
        return url.set(drivername="sqlite+pysqlite", database=str(Path(url.database).expanduser().absolute()))
    raise BadSetting(f"the ledger's address is of kind {scheme!r}, which is not known; {remedy}")


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, json_serializer=_dumps)

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = bool(connection.get_execution_options().get(_WRITES))
        connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres_engine(url: URL, pool: type[Pool] = QueuePool) -> Engine:
    # A process that is stopped inside a transaction must not keep its locks for ever.
    limits = f"-c lock_timeout={BUSY_SECONDS}s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
    return create_engine(
        url,
        isolation_level="READ COMMITTED",
        poolclass=pool,
        pool_pre_ping=True,
        json_serializer=_dumps,
        connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "tidewheel", "options": limits},
    )


def _forget_connections_of_the_parent(engine: Engine) -> None:
    """A forked child opens connections of its own: two processes on one socket would read each other's answers.

    The pool is dropped at the fork itself; a hook at checkout would come after the pool's ping.
    """
    known = weakref.ref(engine)

    def forget() -> None:
        inherited = known()
        if inherited is not None:
            inherited.dispose(close=False)

    os.register_at_fork(after_in_child=forget)


def _dumps(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError) as error:
        raise BadInput(f"a value cannot be stored in the ledger, for JSON has no such thing: {error}") from None


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
