"""P5: decisions and outcomes over HTTP from 16 connections, ours durable on SQLite, the peer in memory.

A round is 320 requests, so 320 by its seconds are requests a second. The clients share the machine with the server.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.serving import Engines, app_command, running
from services.fleet.local.ports import free_ports
from services.fleet.prove.apparatus.beside import serving
from services.fleet.prove.ground import Place
from tidewheel.contracts.roles import Role
from tidewheel.ledger.open import migrate

REQUESTS = 320
PAIR = "momentum_breakout/BTC%2FUSDT"
QUERY = "features[vol]=0.65&features[hmm_trend]=0.4&features[volume_z]=0.1"


def decide(engines: Engines) -> list[dict[str, Any]]:
    """A round of decisions."""
    return engines.all([("GET", f"/param/{PAIR}?{QUERY}", None)] * REQUESTS)


def learn(engines: Engines, decisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A round of outcomes."""
    bodies = [(each["preset_id"], json.dumps({"reward": 0.5, "config_id": each["config_id"]})) for each in decisions]
    return engines.all([("POST", f"/learn/outcome/{PAIR}/{preset}", body) for preset, body in bodies])


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
    with running(*app_command("benchmarks.peers.mabwiser_app", port), port, "/docs") as engines:
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
