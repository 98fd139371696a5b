"""Where proofs work: fresh ledgers on both dialects, and a way into their tables that goes around our own code."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.fleet.local import embedded
from services.fleet.local.ports import free_ports
from services.fleet.local.supervisor import Supervisor
from tidewheel.ledger.open import migrate

DIALECTS = ("sqlite", "postgresql")
_PATIENCE = 30.0  #: seconds that a statement waits for another's lock
_HOUR = 3_600_000

Rows = Callable[..., list[tuple[Any, ...]]]  #: a statement and its values -> the rows that it answers with


@dataclass(frozen=True, slots=True)
class Place:
    """One fresh ledger. Its tables are read and written here in plain SQL, so that our code never judges itself."""

    dsn: str
    data_dir: Path

    @contextmanager
    def session(self) -> Iterator[Rows]:
        """Run statements one by one, `?` for values, each committed at once; the rows that each answers with."""
        if self.dsn.startswith("sqlite:///"):
            path = self.dsn.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as file:
                yield lambda sql, *values: file.execute(sql, values).fetchall()
            return
        import psycopg

        with psycopg.connect(self.dsn, autocommit=True, application_name="prove") as server:

            def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
                cursor = server.execute(sql.replace("?", "%s").encode(), values)
                return cursor.fetchall() if cursor.description else []

            yield rows

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement in a session of its own."""
        with self.session() as rows:
            return rows(sql, *values)

    def seal(self, count: int) -> None:
        """`seal` in a session of its own."""
        with self.session() as rows:
            seal(rows, count)


def seal(rows: Rows, count: int) -> None:
    """Name `count` more files of an hour each. Their bars are other proofs' business."""
    key = "binance:BTC/USDT:1m"
    rows("INSERT INTO streams (id, key, origin, created_at) VALUES (1, ?, 'replay', 0) ON CONFLICT DO NOTHING", key)
    newest = int(rows("SELECT coalesce(max(id), 0) FROM files")[0][0])
    for hour in range(newest, newest + count):
        rows(
            "INSERT INTO files (stream_id, start_time, end_time, bars, revision, digest, csv_path, blob_path,"
            " source, recorded, sealed_at) VALUES (1, ?, ?, 60, 0, ?, 'none', 'none', 'prove', '[]', ?)",
            hour * _HOUR, (hour + 1) * _HOUR, uuid4().hex, time.time_ns() // 1_000_000,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ground:
    """A folder to work in, and a Postgres to make databases on."""

    folder: Path
    postgres: str  #: address of a database from which others can be made

    def fresh(self, dialect: str) -> Place:
        """A migrated ledger that nobody uses yet; copied, for a proof may want hundreds."""
        name = f"prove_{uuid4().hex[:12]}"
        home = self.folder / name
        home.mkdir()
        template = self.folder / f"template-{dialect}"
        if dialect == "sqlite":
            if not template.exists():
                made = home / "ledger.sqlite"
                migrate(str(made), home)
                made.rename(template)
            file = home / "ledger.sqlite"
            file.write_bytes(template.read_bytes())
            return Place(f"sqlite:///{file}", home)
        if not template.exists():
            self._postgres(f"CREATE DATABASE {name}_template")
            migrate(self._address(f"{name}_template"), home)
            template.write_text(f"{name}_template")
        self._postgres(f"CREATE DATABASE {name} TEMPLATE {template.read_text()}")
        return Place(self._address(name), home)

    def drop(self, place: Place) -> None:
        """Give a Postgres database back; the folder goes with the ground."""
        if not place.dsn.startswith("sqlite:"):
            self._postgres(f"DROP DATABASE {place.dsn.rpartition('/')[2]} WITH (FORCE)")

    def _postgres(self, statement: str) -> None:
        Place(self.postgres, self.folder).rows(statement)

    def _address(self, database: str) -> str:
        return f"{self.postgres.rpartition('/')[0]}/{database}"


@contextmanager
def own_ground(folder: Path, say: Callable[[str], None]) -> Iterator[Ground]:
    """A ground in `folder` with a Postgres of its own, which ends with the block."""
    server = embedded.postgres(folder, free_ports(1)[0])
    with Supervisor(folder, say) as supervisor:
        supervisor.start([server.command])
        server.ensure_database()
        yield Ground(folder, server.dsn)


def plain(value: Any) -> Any:
    """A JSON column's value: the drivers give text or the parsed value."""
    return json.loads(value) if isinstance(value, str) else value


def difference(name: str, found: Sequence[Any], expected: Sequence[Any]) -> str | None:
    """The first place where two lists differ, in words; None where they are equal."""
    if list(found) == list(expected):
        return None
    for one, other in zip(found, expected, strict=False):
        if one != other:
            return f"{name}: the tables say {one}, the model {other}"
    return f"{name}: the tables hold {len(found)} rows, the model {len(expected)}"
