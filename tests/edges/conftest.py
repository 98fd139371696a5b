"""Every app with an HTTP face, served by the product's own server, behind the real edge, with real keys."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.fleet.edge.app import EdgeSettings, edge_app
from services.fleet.prove.apparatus.beside import served
from services.fleet.roles.wiring import build, settings_type
from services.fleet.simulator.app import sim_app
from tests.libs.market.sim.made import START, candles, told
from tests.libs.modelstore.regimes import published_regime
from tests.servers import PostgresServer
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import Origin, Scope
from tidewheel.contracts.times import MINUTE
from tidewheel.kit import logs
from tidewheel.kit.settings import Settings, load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import open_ledger
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import SimulatedExchange
from tidewheel.modelstore.store import ModelStore

BEHIND = (Role.INGESTER, Role.PARAM_CONTROLLER, Role.PREDICTOR, Role.ML_TRAINER)
FACES = (*BEHIND, Role.EDGE)
BARS = 300
MAX_BODY = 256 * 1024


@dataclass(frozen=True)
class Standing:
    """Where each role answers, and a key of each scope."""

    address: dict[Role, str]
    keys: dict[Scope, str]
    version: str  #: in service

    def bearer(self, scope: Scope | None) -> dict[str, str]:
        """Headers of a caller with that scope, or of one without a key."""
        return {} if scope is None else {"Authorization": f"Bearer {self.keys[scope]}"}


@pytest.fixture(scope="session")
def standing(
    postgres_server: PostgresServer, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standing]:
    """The roles over one ledger with candles, a run and a champion; on Postgres, the stricter of the two about text."""
    logs.configure(load(Settings, log_level="error"))
    name = f"tidewheel_{uuid.uuid4().hex[:12]}"
    postgres_server.run(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    with ExitStack() as stack:
        stack.callback(postgres_server.run, f"DROP DATABASE {name} WITH (FORCE)")
        yield _stand(stack, tmp_path_factory.mktemp("edges"), postgres_server.dsn(name))


def _stand(stack: ExitStack, folder: Path, dsn: str) -> Standing:
    store = ModelStore(folder / "models")
    version = published_regime(store)
    store.point("hmm", version)
    exchange = SimulatedExchange(
        told(("BTC/USDT", "1m", candles(BARS)), origin=Origin.SYNTHETIC), VirtualClock(START + BARS * MINUTE)
    )
    address = {Role.EXCHANGE_SIM: stack.enter_context(served(sim_app(exchange)))}
    common: dict[str, Any] = {
        "ledger_db": dsn,
        "data_dir": folder / "ml",
        "models_dir": store.models_dir,
        "redis_url": "redis://127.0.0.1:1/0",
        "auth_mode": "keys",
        "max_body_bytes": MAX_BODY,
    }
    own: dict[Role, dict[str, Any]] = {
        Role.INGESTER: {"exchange_url": address[Role.EXCHANGE_SIM], "symbols": ("BTC/USDT",), "start_ts": START},
        Role.PARAM_CONTROLLER: {},
        Role.ML_TRAINER: {"train_wait_seconds": 0.0},
        Role.PREDICTOR: {},
    }
    for role in BEHIND:
        if role is Role.ML_TRAINER:
            own[role]["upstream_predictor"] = address[Role.PREDICTOR]
        settings = load(settings_type(role), **common, **own[role])
        address[role] = stack.enter_context(served(create_app(build(role, settings))))
    upstreams = {f"upstream_{role.value.replace('-', '_')}": address[role] for role in BEHIND}
    address[Role.EDGE] = stack.enter_context(served(edge_app(load(EdgeSettings, max_body_bytes=MAX_BODY, **upstreams))))
    ledger = open_ledger(dsn, folder / "ml")
    keys = {scope: ledger.keys.create([scope], "edges")[1] for scope in Scope}
    ledger.close()
    standing = Standing(address, keys, version)
    for path, scope in (("/ingest_once", Scope.INGEST), ("/train", Scope.TRAIN)):
        done = httpx.post(f"{address[Role.EDGE]}{path}", headers=standing.bearer(scope), timeout=30)
        assert done.status_code in (200, 202), done.text
    return standing
