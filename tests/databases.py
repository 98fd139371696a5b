"""A migrated Postgres database for each test: the one of the test before, emptied, which is ten times faster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString
from uuid import uuid4

import psycopg

from tests.servers import PostgresServer

_OTHERS_LEAVE: LiteralString = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_TABLES: LiteralString = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
_REWIND: LiteralString = (
    "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence WHERE pg_sequence_last_value(seqrelid) IS NOT NULL"
)
# A copy has the numbers of its template.
_SHAPE: LiteralString = (
    "SELECT (SELECT (count(*), sum(oid::bigint)) FROM pg_class WHERE relnamespace = 'public'::regnamespace),"
    " (SELECT (count(*), sum(oid::bigint)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace),"
    " (SELECT (count(*), sum(attnum)) FROM pg_attribute WHERE NOT attisdropped)"
)


class Databases:
    """Copies of `template`, given out one at a time."""

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server, self._template = server, template
        self._owner = os.getpid()
        self._spare: str | None = None
        with psycopg.connect(_plain(server.dsn(template))) as connection:
            self._lasting = frozenset(_filled(connection))
            self._meant = self._content(connection)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The address of a database that is as the template; nobody may use it after the block."""
        mine = os.getpid() == self._owner  # in a fork the spare one is the parent's, and so are all later tests
        name = (mine and self._spare) or self._copy()
        self._spare = None
        yield self._server.dsn(name)
        if mine and self._emptied(name):
            self._spare = name
        else:
            self._server.run(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Remove what is left."""
        if self._spare is not None:
            self._server.run(f"DROP DATABASE {self._spare} WITH (FORCE)")

    def _copy(self) -> str:
        name = f"tidewheel_{uuid4().hex[:12]}"
        self._server.run(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return name

    def _emptied(self, name: str) -> bool:
        """Whether the database is as the template again; it is not where a test changed more than rows."""
        with psycopg.connect(_plain(self._server.dsn(name)), autocommit=True) as connection:
            connection.execute(_OTHERS_LEAVE)
            connection.execute("SET session_replication_role = replica")  # rows may go in any order
            for table in _filled(connection):
                if table not in self._lasting:
                    connection.execute(f"DELETE FROM {table}".encode())
            connection.execute(_REWIND)
            return self._content(connection) == self._meant

    def _content(self, connection: "psycopg.Connection[tuple[str]]") -> list[str]:
        """Tables with their rules, and the rows that a ledger is born with."""
        rows = [
            str(connection.execute(f"SELECT * FROM {table} ORDER BY 1".encode()).fetchall())
            for table in sorted(self._lasting)
        ]
        return [*(str(line) for line in connection.execute(_SHAPE)), *rows, *_filled(connection)]


def _filled(connection: "psycopg.Connection[tuple[str]]") -> list[str]:
    """Tables that hold a row."""
    tables = [name for (name,) in connection.execute(_TABLES)]
    asked = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in tables)
    return [name for (name,) in connection.execute(asked.encode())]


def _plain(dsn: str) -> str:
    return dsn.replace("postgresql+psycopg://", "postgresql://", 1)
