"""Who may ask what: every route of every app, held against docs/routes.md and tried with and without keys (R15)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.applications import Starlette
from starlette.testclient import TestClient

from services.fleet.edge.pages import own_routes
from services.fleet.roles.wiring import build, settings_type
from tests.edges.conftest import BEHIND, Standing
from tidewheel.contracts.roles import Role
from tidewheel.contracts.routes import role_for
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import required_scopes
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import migrate

PAGE = Path(__file__).parents[2] / "docs" / "routes.md"
OPEN = frozenset({"/health", "/ready", "/metrics", "/openapi.json", "/docs", "/docs-assets"})

Known = dict[tuple[Role, str, str], Scope]  #: (role, method, path) -> scope


def listed() -> Known:
    """The table of docs/routes.md."""
    rows = re.findall(r"^\| `([A-Z]+) (\S+)` \| `(\S+)` \| `(\w+)`", PAGE.read_text(), re.MULTILINE)
    return {(Role(role), method, path): Scope(scope) for method, path, role, scope in rows}


def faults(role: Role, app: FastAPI | Starlette, known: Known) -> list[str]:
    """Where an app's routes are not what the page says; HEAD and OPTIONS that come with a GET are not told apart."""
    wrong, found = [], set()
    contexts: list[Any] = list(iter_route_contexts(app.routes))
    for context in contexts:
        path, methods = context.path, (context.methods or {"ANY"}) - {"HEAD", "OPTIONS"}
        if path in OPEN and methods <= {"GET", "ANY"}:
            continue
        dependant = getattr(context, "dependant", None)
        scopes = set() if dependant is None else required_scopes(dependant)
        for method in methods:
            found.add((role, method, path))
            wanted = known.get((role, method, path))
            if wanted is None or scopes != {wanted}:
                wrong.append(f"{role}: {method} {path} asks for {sorted(scopes)}, the page says {wanted}")
    gone = {row for row in known if row[0] is role} - found
    wrong += [f"{role}: {method} {path} is on the page, not in the app" for _, method, path in gone]
    return wrong


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Role, FastAPI]]:
    """Every role's app as it is built for serving; not started."""
    folder = tmp_path_factory.mktemp("scopes")
    dsn = f"sqlite:///{folder / 'ledger.sqlite'}"
    migrate(dsn, folder)
    services = {
        role: build(
            role, load(settings_type(role), ledger_db=dsn, data_dir=folder, models_dir=folder, auth_mode="keys")
        )
        for role in BEHIND
    }
    yield {role: create_app(service) for role, service in services.items()}
    for service in services.values():
        for close in service.close:
            close()


def test_every_route_stands_on_the_page_with_its_scope(apps: dict[Role, FastAPI]) -> None:
    """No app has a route that the page does not list, none asks for another scope, and none is open by oversight."""
    known = listed()
    pages = own_routes(load(settings_type(Role.EDGE)), {}, lambda: pytest.fail("not asked"))

    assert len(known) == 46
    assert [fault for role, app in apps.items() for fault in faults(role, app, known)] == []
    assert faults(Role.EDGE, Starlette(routes=pages), known) == []


def test_a_planted_route_is_caught(apps: dict[Role, FastAPI]) -> None:
    """An open route, one that reads with a wrong scope, and one that vanished are each named."""
    forgotten = APIRouter(prefix="/inner")
    forgotten.post("/wipe")(lambda: None)
    forgotten.get("/peek")(lambda: None)
    app = FastAPI()
    app.include_router(forgotten)
    known = listed()

    found = faults(Role.PREDICTOR, app, known)
    for words in (
        "POST /inner/wipe asks for []",
        "GET /inner/peek asks for []",
        "POST /predict is on the page",
    ):
        assert any(words in fault for fault in found)
    other = dict.fromkeys(known, Scope.READ)
    assert any("POST /train asks for" in fault for fault in faults(Role.ML_TRAINER, apps[Role.ML_TRAINER], other))


def ways(standing: Standing) -> Iterator[tuple[str, str, Scope]]:
    """Every listed route as (method, address, scope), on the role's own port and, where it leads there, the edge's."""
    for (role, method, path), scope in listed().items():
        filled = path.replace("{run_id}", "1").replace("{version}", standing.version)
        filled = filled.replace("{strategy}", "momentum_breakout").replace("{instrument:path}", "BTC/USDT")
        filled = filled.replace("{preset_id}", "balanced").replace("{model_name}", "nobody")
        filled = filled.replace("{horizon}", "3").replace("{alias}", "champion")
        filled += "?stream=binance:BTC/USDT:1m" if path == "/candles" else ""
        yield method, standing.address[role] + filled, scope
        if role_for(path) is role:
            yield method, standing.address[Role.EDGE] + filled, scope


def entered(client: httpx.Client, standing: Standing, method: str, url: str, scope: Scope | None) -> int:
    body = {"stream": "binance:BTC/USDT:1m"} if url.endswith("/predict") else None
    return client.request(method, url, headers=standing.bearer(scope), json=body).status_code


def test_every_route_wants_its_key(standing: Standing) -> None:
    """Without a key 401, with every other scope 403, with its own scope or admin neither; directly and by the edge."""
    wrong, tried = [], 0
    with httpx.Client(timeout=30) as client:
        for method, url, scope in ways(standing):
            let_in = {200, 202, 400, 404, 409, 422}
            expected = {None: {401}, scope: let_in, Scope.ADMIN: let_in}
            for offered in (None, *Scope):
                got = entered(client, standing, method, url, offered)
                tried += 1
                if got not in expected.get(offered, {403}):
                    wrong.append(f"{method} {url} with {offered}: {got}")
    assert wrong == []
    assert tried == 90 * 10


def test_force_wants_admin(standing: Standing) -> None:
    """The scope promote does not overrule a verdict."""
    url = f"{standing.address[Role.EDGE]}/model/promote/{standing.version}?force=true&reason=because"
    assert httpx.post(url, headers=standing.bearer(Scope.PROMOTE)).status_code == 403


@pytest.mark.parametrize(
    "sent",
    [
        "Bearer",
        "Bearer ",
        "Bearer twk_",
        "Basic dHdrOng=",
        "Bearer twk_a_b_c",
        "bearer",
        "Bearer \x00",
        "Bearer \u00ff",
    ],
)
def test_malformed_keys_are_401(apps: dict[Role, FastAPI], sent: str) -> None:
    """Whatever stands in the Authorization header, the answer is 401 and a problem."""
    answer = TestClient(apps[Role.INGESTER]).get("/streams", headers={b"Authorization": sent.encode("latin-1")})

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
