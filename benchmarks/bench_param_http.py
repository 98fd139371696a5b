"""P5: decisions and outcomes over HTTP from 16 connections, ours durable on SQLite, the peer in memory.

A round is 320 requests, so 320 by its seconds are requests a second. The clients share the machine with the server.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.fleet.local.fleet import answers
from services.fleet.local.ports import free_ports
from services.fleet.prove.apparatus.beside import serving
from services.fleet.prove.ground import Place
from tidewheel.contracts.roles import Role
from tidewheel.ledger.open import migrate

CONNECTIONS, REQUESTS = 16, 320
PAIR = "momentum_breakout/BTC%2FUSDT"
QUERY = "features[vol]=0.65&features[hmm_trend]=0.4&features[volume_z]=0.1"


class Engines:
    """Sixteen engines of one server, each with a connection of its own."""

    def __init__(self, port: int) -> None:
        self._connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(CONNECTIONS)]
        self._threads = ThreadPoolExecutor(CONNECTIONS)

    def all(self, requests: list[tuple[str, str, str | None]]) -> list[dict[str, Any]]:
        """Send all, a share by each; every one must be answered 2xx."""
        shares = [requests[number::CONNECTIONS] for number in range(CONNECTIONS)]
        found = self._threads.map(self._send, self._connections, shares)
        return [answer for share in found for answer in share]

    @staticmethod
    def _send(connection: http.client.HTTPConnection, share: list[tuple[str, str, str | None]]) -> list[dict[str, Any]]:
        answers = []
        for method, path, body in share:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status in (200, 201), text
            answers.append(json.loads(text))
        connection.close()  # until the next round, before which the server may have ended it
        return answers


def decide(engines: Engines) -> list[dict[str, Any]]:
    """A round of decisions."""
    return engines.all([("GET", f"/param/{PAIR}?{QUERY}", None)] * REQUESTS)


def learn(engines: Engines, decisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A round of outcomes."""
    bodies = [(each["preset_id"], json.dumps({"reward": 0.5, "config_id": each["config_id"]})) for each in decisions]
    return engines.all([("POST", f"/learn/outcome/{PAIR}/{preset}", body) for preset, body in bodies])


@contextmanager
def running(argv: list[str], environment: dict[str, str], port: int, probe: str) -> Iterator[Engines]:
    """A server as a process of its own."""
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(f"http://127.0.0.1:{port}{probe}"):
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
        yield Engines(port)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def ours() -> Iterator[Engines]:
    """The product's param-controller over SQLite, every answer committed first."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        dsn = f"sqlite:///{home / 'manifest.sqlite'}"
        migrate(dsn, home)
        (port,) = free_ports(1)
        place = Place(dsn, home)
        settings = {"TIDEWHEEL_MAX_IN_FLIGHT": "64"}
        command = serving(Role.PARAM_CONTROLLER, "services.fleet.cli", place, settings, port=port)
        with running(list(command.argv), dict(command.env), port, "/health") as engines:
            for preset in ("balanced", "fast", "patient"):
                engines.all([("POST", f"/preset/register/{PAIR}", json.dumps({"preset_id": preset}))])
            yield engines


@pytest.fixture(scope="module")
def peer() -> Iterator[Engines]:
    """FastAPI before MABWiser."""
    (port,) = free_ports(1)
    app = ["-m", "uvicorn", "--factory", "benchmarks.peers.mabwiser_app:build", "--port", str(port)]
    root = {"PYTHONPATH": str(Path(__file__).parents[1])}
    with running([sys.executable, *app, "--no-access-log"], root, port, "/docs") as engines:
        yield engines


@pytest.mark.benchmark(group="GET /param, 320 requests from 16 connections")
@pytest.mark.parametrize("side", ["ours", "peer"])
def test_decide(benchmark: Any, side: str, request: pytest.FixtureRequest) -> None:
    """Decisions."""
    engines: Engines = request.getfixturevalue(side)
    found = benchmark.pedantic(decide, (engines,), rounds=7, warmup_rounds=1)
    assert len(found) == REQUESTS


@pytest.mark.benchmark(group="POST /learn/outcome, 320 requests from 16 connections")
@pytest.mark.parametrize("side", ["ours", "peer"])
def test_learn(benchmark: Any, side: str, request: pytest.FixtureRequest) -> None:
    """Outcomes of decisions that were made for them."""
    engines: Engines = request.getfixturevalue(side)
    found = benchmark.pedantic(learn, setup=lambda: ((engines, decide(engines)), {}), rounds=7, warmup_rounds=1)
    assert all(each["learnt"] for each in found)
