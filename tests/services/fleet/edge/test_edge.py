import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from services.fleet.edge.app import EdgeSettings
from services.fleet.edge.pages import merge
from services.fleet.local.fleet import answers
from services.fleet.local.ports import free_ports
from tests.problems import problem_of
from tests.services.fleet.edge.behind import CHUNK, CHUNKS
from tests.waiting import until
from tidewheel.contracts.errors import BadSetting
from tidewheel.contracts.roles import Role
from tidewheel.contracts.routes import ROUTES
from tidewheel.kit.serve import listen
from tidewheel.kit.settings import load


@contextmanager
def process(role: str, port: int, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.services.fleet.edge.behind", role, str(port)]
    with subprocess.Popen(command, env={**os.environ, **env}) as started:
        try:
            until(lambda: started.poll() is not None or answers(f"http://127.0.0.1:{port}/health"))
            assert started.poll() is None
            yield started
        finally:
            started.kill()


@pytest.fixture(scope="module")
def fleet() -> Iterator[dict[str, int]]:
    """An edge over an ingester and a predictor; nothing listens where ml-trainer should."""
    ports = {name: free_ports(1)[0] for name in ("ingester", "predictor", "ml_trainer", "edge")}
    env = {f"TIDEWHEEL_UPSTREAM_{name.upper()}": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    env["TIDEWHEEL_UPSTREAM_PARAM_CONTROLLER"] = f"http://127.0.0.1:{ports['ingester']}"  # asked for its /ready alone
    with ExitStack() as stack:
        for role in ("ingester", "predictor", "edge"):
            stack.enter_context(process(role, ports[role], TIDEWHEEL_MAX_BODY_BYTES=str(4 * 2**20), **env))
        yield ports


@pytest.fixture
def edge(fleet: dict[str, int]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{fleet['edge']}", timeout=30) as client:
        yield client


def test_raw_path_and_query_survive(fleet: dict[str, int]) -> None:
    """An encoded slash, and whatever else a path or query holds, reaches the role byte for byte."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet["edge"], timeout=10)
    connection.request(
        "GET", "/streams/binance:BTC%2FUSDT:1m/a%20b/%2e%2e/%C3%BC?x=1%2B2&y=%2F&x=", headers={"te": "x"}
    )
    seen = json.loads(connection.getresponse().read())
    assert seen["raw_path"] == "/streams/binance:BTC%2FUSDT:1m/a%20b/%2e%2e/%C3%BC"
    assert seen["query"] == "x=1%2B2&y=%2F&x="
    connection.close()


def test_headers_end_to_end(edge: httpx.Client, fleet: dict[str, int]) -> None:
    """Own headers pass, hop-by-hop ones do not, and the role learns who asked under which id."""
    sent = {"x-request-id": "abc-7", "connection": "x-private", "x-private": "1", "authorization": "Bearer twk_a_b"}
    response = edge.get("/streams/x", headers=sent)
    seen = response.json()["headers"]
    assert seen["x-request-id"] == "abc-7" == response.headers["x-request-id"]
    assert seen["authorization"] == "Bearer twk_a_b"
    assert "x-private" not in seen
    assert seen["x-forwarded-for"] == "127.0.0.1" and seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == f"127.0.0.1:{fleet['edge']}" == seen["host"]
    assert response.headers.get_list("x-request-id") == ["abc-7"]


def test_bodies_stream_both_ways(edge: httpx.Client) -> None:
    """A streamed upload arrives whole, and a 20 MiB download begins before it ends."""
    parts = [os.urandom(100_000) for _ in range(20)]
    answer = edge.post("/ingest_once", content=iter(parts)).json()
    assert answer == {"size": 2_000_000, "sha256": hashlib.sha256(b"".join(parts)).hexdigest()}
    assert edge.post("/ingest_once", content=b"short").json()["size"] == 5
    assert edge.post("/ingest_once").json()["size"] == 0
    with edge.stream("GET", "/candles") as download:
        assert download.headers["content-type"].startswith("text/csv")
        assert sum(len(part) for part in download.iter_bytes()) == len(CHUNK) * CHUNKS


def test_one_of_a_client_that_leaves_is_enough(edge: httpx.Client) -> None:
    """A client that leaves in the middle of a download does not disturb the next one."""
    for _ in range(3):
        with edge.stream("GET", "/candles") as download:
            next(download.iter_raw())
    assert edge.get("/streams/x").status_code == 200


def test_refusals_of_a_role_pass_unchanged(edge: httpx.Client) -> None:
    """A role's own problem document is passed on with its status."""
    problem_of(edge.post("/predict", json={"logret": "x"}), 422, "bad_input")
    problem_of(edge.get("/predict"), 405, "method_not_allowed")
    problem_of(edge.get("/streamsx"), 404, "not_found")
    assert edge.post("/predict", json={"logret": [0.1, 0.2]}).json() == {"n_used": 2}


def test_role_that_is_away_is_named(edge: httpx.Client) -> None:
    """Nobody listening behind a route is a 503 that names the role and when to come back."""
    found = problem_of(edge.post("/train", json={}), 503, "role_away")
    assert found["role"] == "ml-trainer" and "ml-trainer does not listen at" in found["detail"]
    found = problem_of(edge.get("/ready"), 503, "not_ready")
    assert set(found["away"]) == {"ml-trainer"}
    assert edge.get("/health").json()["role"] == "edge"


def test_unknown_path_lists_the_routes(edge: httpx.Client) -> None:
    """A path that no role answers is a 404 with every prefix."""
    found = problem_of(edge.get("/nowhere"), 404, "not_found")
    assert found["routes"] == sorted(route.prefix for route in ROUTES)


def test_own_pages_refuse_with_problems(edge: httpx.Client) -> None:
    """What is wrong about the edge's own pages is told as everything else is."""
    for answer, status in ((edge.get("/docs-assets/nope.js"), 404), (edge.post("/health"), 405)):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_long_body_is_refused(edge: httpx.Client) -> None:
    """A body over the limit is 413 at the edge, declared or streamed."""
    problem_of(edge.post("/ingest_once", content=b"x" * (4 * 2**20 + 1)), 413, "content_too_large")
    streamed = edge.post("/ingest_once", content=(CHUNK for _ in range(80)))
    problem_of(streamed, 413, "content_too_large")


def test_one_description_of_all_roles(edge: httpx.Client) -> None:
    """The merged document holds each role's own routes, says who gave none, and the docs page is vendored."""
    document = edge.get("/openapi.json").json()
    assert {"/streams/{name}", "/candles", "/ingest_once", "/predict"} <= document["paths"].keys()
    assert "/health" not in document["paths"]
    assert document["x-away"] == ["ml-trainer"]
    assert "https://" not in edge.get("/docs").text
    assert edge.get("/docs-assets/swagger-ui.css").status_code == 200


def test_metrics_carry_prefixes(edge: httpx.Client) -> None:
    """The edge counts by the route table's prefixes, never by paths."""
    edge.get("/streams/SECRET")
    text = edge.get("/metrics").text
    assert 'route="/streams"' in text and "SECRET" not in text


def test_same_name_different_schema() -> None:
    """Two roles may use one schema name for different things; references follow the rename."""

    def document(path: str, kind: str) -> dict[str, Any]:
        schema = {"$ref": "#/components/schemas/Run"}
        answer = {"200": {"content": {"application/json": {"schema": schema}}}}
        return {"paths": {path: {"get": {"responses": answer}}}, "components": {"schemas": {"Run": {"type": kind}}}}

    merged = merge({Role.ML_TRAINER: document("/runs", "object"), Role.PREDICTOR: document("/predict", "string")})
    assert merged["components"]["schemas"] == {"Run": {"type": "object"}, "PredictorRun": {"type": "string"}}
    answer = merged["paths"]["/predict"]["get"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/PredictorRun"}


def test_every_role_of_the_table_has_an_address() -> None:
    """A role that enters the route table without an upstream setting is found here."""
    assert set(load(EdgeSettings).upstreams()) == {route.role for route in ROUTES}


class Rude:
    """A server that answers a connection's first request and breaks off at its second."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))
        self.requests: list[bytes] = []
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Rude":
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.socket, *self.connections):
            with contextlib.suppress(OSError):  # a connection that broke off is closed already
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            for number in (1, 2):
                try:
                    request = connection.recv(65_536)
                except OSError:  # the test is over
                    return
                if not request:
                    return
                self.requests.append(request.partition(b" ")[0])
                if number == 1:
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


def test_broken_connection_repeats_only_what_is_safe(edge: httpx.Client, fleet: dict[str, int]) -> None:
    """A GET that lost its connection is asked again, a POST is not: whether it was done is not known."""
    with Rude(fleet["ml_trainer"]) as rude:
        assert edge.post("/train", json={}).text == "ok"
        assert edge.get("/runs").text == "ok"
        assert rude.requests == [b"POST", b"GET", b"GET"]
        found = problem_of(edge.post("/train", json={}), 502, "role_broke_off")
        assert found["role"] == "ml-trainer"
        assert rude.requests == [b"POST", b"GET", b"GET", b"POST"]


def test_role_that_comes_back_is_used_again(edge: httpx.Client, fleet: dict[str, int]) -> None:
    """After a role went away and came back, the edge answers with it at once."""
    for _ in range(3):
        with Rude(fleet["ml_trainer"]):
            assert edge.post("/train", json={}).text == "ok"
            assert edge.get("/runs").text == "ok"
        time.sleep(0.2)  # the edge notices that its idle connections were closed
        problem_of(edge.post("/train", json={}), 503, "role_away")


def test_stop_is_quick_and_clean() -> None:
    """SIGTERM ends a serving process within seconds with exit code 0."""
    with process("edge", free_ports(1)[0]) as started:
        started.send_signal(signal.SIGTERM)
        assert started.wait(8) == 0


def test_taken_port_names_its_owner() -> None:
    """A port in use stops the start with the process that holds it."""
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(BadSetting, match=rf"port \d+ is taken by .*\(pid {os.getpid()}\)"):
            listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(BadSetting, match=r"192\.0\.2\.1:1234 cannot be listened on"):
        listen("192.0.2.1", 1234)


@pytest.mark.parametrize("address", ["predictor:8004", "ftp://predictor", "http://"])
def test_an_upstream_that_is_no_address_stops_the_start(address: str) -> None:
    """The refusal names the variable, the value and the form that is meant."""
    with pytest.raises(BadSetting, match=f"UPSTREAM_PREDICTOR={address} cannot be used: write it as http://host:port"):
        load(EdgeSettings, upstream_predictor=address)
