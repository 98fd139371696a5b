"""The trainer's HTTP face."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fastapi.testclient import TestClient

from services.ml_trainer.app import build as build_service
from services.ml_trainer.settings import TrainerSettings
from tests.services.ml_trainer.conftest import BARS, Build, Feed, InThread, later, market
from tests.waiting import until
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import open_routes
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore


@pytest.fixture
def client(settings: TrainerSettings) -> Iterator[TestClient]:
    """The API as it is served."""
    with TestClient(create_app(build_service(settings.model_copy(update={"train_wait_seconds": 20.0})))) as client:
        yield client


def work_off(ledger: Ledger, trainer: object) -> Callable[[], None]:
    """Do the next queued run, as a worker would."""

    def work() -> None:
        until(lambda: [run for run in ledger.runs.list() if not run.state.final])
        trainer.run(next(run.id for run in ledger.runs.list() if not run.state.final))  # type: ignore[attr-defined]

    return work


def test_train_on_an_empty_ledger_says_so(
    client: TestClient, ledger: Ledger, build: Build, in_thread: InThread
) -> None:
    """The documented alert: 200 with zero claimed files and the reason."""
    in_thread(work_off(ledger, build()))

    answer = client.post("/train")

    assert answer.status_code == 200
    assert answer.json()["status"] == "skipped"
    assert answer.json()["metadata"]["claimed_files"] == 0
    assert answer.json()["metadata"]["reason"].startswith("no_new_data")


def test_train_answers_with_the_promoted_version(
    client: TestClient, ledger: Ledger, build: Build, feed: Feed, in_thread: InThread, canned: str
) -> None:
    """POST /train waits for the run; GET /runs and GET /model then tell the same story."""
    feed(market(BARS, 1))
    in_thread(work_off(ledger, build(canned)))

    answer = client.post("/train").json()

    assert answer["status"] == answer["state"] == "promoted"
    assert answer["metadata"] == {"claimed_files": 1, "new_bars": BARS, "window_bars": BARS, "reason": None}
    assert client.get(f"/runs/{answer['run_id']}").json()["verdict"]["steps"][-1]["passed"]
    assert [run["run_id"] for run in client.get("/runs").json()["runs"]] == [answer["run_id"]]
    model = client.get("/model").json()
    assert model["desired"] == model["champion"]["version"] == answer["version"]
    assert model["metrics"]["train_bars"] > 0
    assert model["lineage"]["mode"] == "strict"
    assert model["replicas"] == []


def test_a_run_that_takes_longer_is_202_and_is_joined(client: TestClient, ledger: Ledger) -> None:
    """Without a worker the answer comes at once when asked not to wait; a second call joins the same run."""
    first = client.post("/train", params={"wait": False})
    second = client.post("/train", params={"wait": False})

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["status"] == "running"
    assert (first.json()["joined"], second.json()["joined"]) == (False, True)
    assert second.json()["run_id"] == first.json()["run_id"]


def test_a_queued_run_is_cancelled_at_once(client: TestClient) -> None:
    """Cancel ends what no worker has begun."""
    run_id = client.post("/train", params={"wait": False}).json()["run_id"]

    assert client.post(f"/runs/{run_id}/cancel").json()["state"] == "cancelled"


def test_an_unknown_run_is_404(client: TestClient) -> None:
    """The problem has a stable code."""
    answer = client.get("/runs/4711")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_no_model_yet(client: TestClient) -> None:
    """Before the first promotion nothing is desired, and rolling back is a conflict."""
    assert client.get("/model").json()["desired"] is None
    assert client.post("/model/rollback").json()["code"] == "nothing_to_roll_back"
    assert client.post("/model/promote/v2026-01-01-00000000").status_code == 404


def test_a_refused_version_is_promoted_by_force_only(
    client: TestClient,
    ledger: Ledger,
    store: ModelStore,
    build: Build,
    feed: Feed,
    in_thread: InThread,
    canned: str,
) -> None:
    """Force takes a reason and shows afterwards; rollback and forward again move `current` at once; a version whose
    bundle is gone is refused, and the champion stays."""
    versions = []
    for shift in (0, BARS):
        feed(later(market(BARS, 1), shift))
        in_thread(work_off(ledger, build(canned))).join(0)
        versions.append(client.post("/train").json()["version"])
    first, refused = versions

    assert client.post(f"/model/promote/{refused}").json()["code"] == "verdict_not_passed"
    assert client.post(f"/model/promote/{refused}", params={"force": True}).status_code == 422
    forced = client.post(f"/model/promote/{refused}", params={"force": True, "reason": "rehearsal"})
    assert forced.json()["forced"] is True
    assert client.get("/model").json()["champion"]["forced"] is True
    assert store.current("hmm") == refused
    assert client.post("/model/rollback").json()["version"] == first
    assert store.current("hmm") == first
    ledger.switches.trip(None, "risk", "the venue misprices", "hand")
    frozen = client.post(f"/model/promote/{first}", params={"force": True, "reason": "hurry"})
    assert (frozen.status_code, frozen.json()["code"]) == (409, "kill_switch")
    ledger.switches.clear(None, "admin", "mended")
    assert client.post(f"/model/promote/{first}").json()["version"] == first

    client.post(f"/model/promote/{refused}", params={"force": True, "reason": "again"})
    store.prune("hmm", [first])
    for lost in (client.post(f"/model/promote/{first}"), client.post("/model/rollback")):
        assert (lost.status_code, first in lost.json()["detail"]) == (404, True)
    assert client.get("/model").json()["desired"] == store.current("hmm") == refused


def test_force_takes_an_admin(settings: TrainerSettings, ledger: Ledger) -> None:
    """A key with the scope promote cannot overrule the gate; no key at all gets nothing."""
    _, secret = ledger.keys.create({Scope.PROMOTE, Scope.READ}, "desk")
    with TestClient(create_app(build_service(settings.model_copy(update={"auth_mode": "keys"})))) as client:
        path, params = "/model/promote/v2026-01-01-00000000", {"force": "true", "reason": "because"}
        sent = client.post(path, params=params, headers={"Authorization": f"Bearer {secret}"})

        assert (sent.status_code, sent.json()["code"]) == (403, "not_authorised")
        assert client.post(path, params=params).status_code == 401
        assert client.post("/train").status_code == 401


def test_claimed_files_fall_to_zero_when_a_run_dies(client: TestClient, ledger: Ledger, feed: Feed) -> None:
    """The dashboard's number follows the claims of a run, up and down."""
    feed(market(100, 1))
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    lease = ledger.runs.lease(run.id, "worker", 60_000)
    assert lease is not None
    lease.claim_files()

    until(lambda: 'tidewheel_claimed_files{consumer="hmm"} 1.0' in client.get("/metrics").text)
    lease.give_back()
    until(lambda: 'tidewheel_claimed_files{consumer="hmm"} 0.0' in client.get("/metrics").text)


def test_every_changing_route_has_a_scope(settings: TrainerSettings, ledger: Ledger) -> None:
    """None is open."""
    assert open_routes(create_app(build_service(settings))) == []


class Predictor(BaseHTTPRequestHandler):
    """Echoes the body with the headers that a predictor sets."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("X-Model-Version", "v2026-01-01-0a0b0c0d")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_predict_is_forwarded(settings: TrainerSettings, ledger: Ledger, in_thread: InThread) -> None:
    """Engines that know the trainer's address only get the predictor's answer, its version header included."""
    with HTTPServer(("127.0.0.1", 0), Predictor) as server:
        in_thread(server.handle_request)
        url = f"http://127.0.0.1:{server.server_port}"
        with TestClient(create_app(build_service(settings.model_copy(update={"upstream_predictor": url})))) as client:
            answer = client.post("/predict", json={"logret": [0.1]})

    assert answer.json() == {"logret": [0.1]}
    assert answer.headers["x-model-version"] == "v2026-01-01-0a0b0c0d"


def test_an_absent_predictor_is_named(settings: TrainerSettings, ledger: Ledger) -> None:
    """503 says which role is away, and which setting names it."""
    gone = settings.model_copy(update={"upstream_predictor": "http://127.0.0.1:1"})
    with TestClient(create_app(build_service(gone))) as client:
        answer = client.post("/predict", json={"logret": [0.1]})

    assert (answer.status_code, answer.json()["code"]) == (503, "role_away")
    assert "TIDEWHEEL_UPSTREAM_PREDICTOR" in answer.json()["detail"]
