"""Valkey and Postgres from their wheels, supervised."""

import os
import signal
from pathlib import Path

import psycopg
import pytest
import redis

from services.fleet.local.embedded import postgres, require_passable, valkey
from services.fleet.local.ports import free_ports
from services.fleet.local.supervisor import Supervisor
from tests.services.fleet.local.test_supervisor import gone
from tests.waiting import until
from tidewheel.contracts.errors import BadSetting


def test_valkey_answers_and_leaves(tmp_path: Path) -> None:
    """Valkey is up when start returns, and gone when the block ends."""
    port = free_ports(1)[0]
    with Supervisor(tmp_path, print) as supervisor:
        supervisor.start([valkey(tmp_path, port)])
        with redis.Redis(port=port) as client:
            assert client.set("tide", "high")
        pid = supervisor.children[0].pid
    assert gone(pid)


def test_postgres_survives_kill_and_restart(roomy_tmp: Path) -> None:
    """A committed row is there after kill -9 of the server and its restart, and after a stop and a new start."""
    port = free_ports(1)[0]
    with Supervisor(roomy_tmp, print) as supervisor:
        server = postgres(roomy_tmp, port)
        supervisor.start([server.command])
        server.ensure_database()
        server.ensure_database()
        with psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE tide AS SELECT 42 AS height")
        os.kill(supervisor.children[0].pid, signal.SIGKILL)

        def back() -> bool:
            supervisor.watch()
            return supervisor.children[0].exit_code() is None and server.command.ready()

        until(back)
        assert height(server.dsn) == 42
        pid = supervisor.children[0].pid
    assert gone(pid)

    moved = free_ports(1)[0]
    with Supervisor(roomy_tmp, print) as supervisor:
        again = postgres(roomy_tmp, moved)
        supervisor.start([again.command])
        assert height(again.dsn) == 42


def test_postgres_listens_to_nobody_without_the_password(roomy_tmp: Path) -> None:
    """The cluster asks every client for the password, local ones too."""
    with Supervisor(roomy_tmp, print) as supervisor:
        server = postgres(roomy_tmp, free_ports(1)[0])
        supervisor.start([server.command])
        password = (roomy_tmp / "postgres" / "password").read_text()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.dsn.replace(password, "wrong"))


def test_a_folder_that_nobody_cannot_enter_is_refused(roomy_tmp: Path) -> None:
    """Root's Postgres runs as nobody; a home in a closed folder is refused with that folder's name."""
    require_passable(roomy_tmp / "home" / "postgres", "nobody")
    closed = roomy_tmp / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(BadSetting, match=f"the user nobody cannot enter {closed}:"):
        require_passable(closed / "home" / "postgres", "nobody")


def height(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT height FROM tide").fetchone()
    assert row is not None
    return int(row[0])
