import json
import time
from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.testclient import TestClient

from tests.problems import problem_of
from tidewheel.contracts.errors import Conflict, Overloaded, Unavailable
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import Actor, open_routes, require
from tidewheel.kit.json_bodies import MAX_MEMBERS, MAX_VALUES, flaw
from tidewheel.kit.problems import problem
from tidewheel.kit.schemas import RequestBody
from tidewheel.kit.service import Service
from tidewheel.kit.settings import Settings, load
from tidewheel.kit.web import create_app


class Order(RequestBody):
    price: float
    tags: tuple[str, ...] = ()


class Quote(BaseModel):
    price: float


def desk() -> APIRouter:
    router = APIRouter()

    @router.post(
        "/orders/{symbol:path}", responses={409: problem("busy"), 403: problem("closed", "The account is closed.")}
    )
    def order(symbol: str, order: Order, actor: Annotated[Actor, Depends(require(Scope.TRAIN))]) -> dict[str, str]:
        return {"symbol": symbol, "by": actor.name}

    @router.get("/quote")
    def quote(price: str = "1") -> Quote:
        return Quote(price=float(price))

    @router.get("/raise/{kind}")
    def fail(kind: str) -> None:
        if kind == "conflict":
            raise Conflict("taken", code="busy", holder="other", detail_of="x")
        if kind == "overloaded":
            raise Overloaded("slow down", retry_after=3)
        raise RuntimeError("secret inner words")

    return router


def away() -> None:
    raise Unavailable("the ledger is away; start it")


@pytest.fixture
def client() -> Iterator[TestClient]:
    settings = load(Settings, auth_mode="dev", bind="127.0.0.1", max_body_bytes=4_096)
    service = Service(name="desk", settings=settings, routers=[desk()])
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        yield client


def test_every_refusal_is_a_problem(client: TestClient) -> None:
    """Our errors, routing's, validation's and unknown ones all come as problem documents."""
    found = problem_of(client.get("/raise/conflict"), 409, "busy")
    assert found["holder"] == "other"
    assert problem_of(client.get("/raise/overloaded"), 429, "overloaded")["retry_after"] == 3
    assert client.get("/raise/overloaded").headers["retry-after"] == "3"
    problem_of(client.get("/nowhere"), 404, "not_found")
    wrong = client.delete("/quote")
    problem_of(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET"
    problem_of(client.post("/orders/BTC", json={"price": "high"}), 422, "bad_input")


def test_a_misspelt_parameter_is_refused(client: TestClient) -> None:
    """It must not pass for one that was heard; probes take what a load balancer adds."""
    assert client.get("/quote?price=2").json() == {"price": 2.0}
    found = problem_of(client.get("/quote?prise=2"), 422, "unknown_parameter")
    assert found["detail"] == "the route has no parameter 'prise'; those it has are price"
    found = problem_of(client.post("/orders/a?wait=1", json={"price": 1}), 422, "unknown_parameter")
    assert found["detail"] == "the route has no parameter 'wait'; it has none"
    assert client.get("/health?at=1").status_code == 200


def test_unknown_error_keeps_its_words_to_itself(client: TestClient) -> None:
    """An unforeseen exception is a 500 whose body holds only the request id."""
    response = client.get("/raise/other")
    problem_of(response, 500, "internal")
    assert "secret inner words" not in response.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"price": NaN}',
        b'{"price": -Infinity}',
        b'{"price": 1e400}',
        b'{"price": "NaN"}',
        b'{"price": "1e400"}',
        b'{"price": ' + b"1" * 400 + b".0}",
        b'{"price": ' + b"1" * 3000 + b"}",
        b'{"price": 1, "price": "x"}',
        b'{"price": ' + b"[" * 3000,
        b'{"tags": ' + b"[" * 1500 + b"]" * 1500 + b"}",
        b'{"price": 1, "tags": ["\\ud800"]}',
        b'{"price": 1, "tags": ["\xff"]}',
        b'{"price": 1, "surprise": 2}',
        b"\x00",
        b"",
        b"null",
        b"{",
        b"\xef\xbb\xbf{}",
    ],
)
def test_odd_bodies_are_the_callers_fault(client: TestClient, body: bytes) -> None:
    """No body, however odd, is answered with a 5xx."""
    response = client.post("/orders/BTC", content=body, headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_non_finite_answer_never_leaves(client: TestClient) -> None:
    """A NaN in an answer becomes an error, not null."""
    assert client.get("/quote", params={"price": "2"}).json() == {"price": 2.0}
    problem_of(client.get("/quote", params={"price": "nan"}), 500, "internal")
    problem_of(client.get("/quote", params={"price": "inf"}), 500, "internal")


def test_large_bodies_are_refused_with_and_without_a_length(client: TestClient) -> None:
    """A body over the limit is 413, whether it declares its length or streams."""
    body = json.dumps({"price": 1, "tags": ["x" * 5_000]}).encode()
    headers = {"content-type": "application/json"}
    problem_of(client.post("/orders/BTC", content=body, headers=headers), 413, "content_too_large")
    problem_of(client.post("/orders/BTC", content=iter([body]), headers=headers), 413, "content_too_large")
    problem_of(client.post("/orders/BTC", content=iter([body])), 413, "content_too_large")


def test_long_headers_are_refused(client: TestClient) -> None:
    """Headers beyond 32 KiB are 431."""
    problem_of(client.get("/health", headers={"x-long": "x" * 40_000}), 431, "request_header_fields_too_large")


def test_request_id_is_kept_or_made(client: TestClient) -> None:
    """A sane id is passed through, any other is replaced."""
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = client.get("/health", headers={"x-request-id": "a b\tc" * 20}).headers["x-request-id"]
    assert len(made) == 32


def test_health_asks_nobody_and_ready_names_what_is_away() -> None:
    """Health asks nobody; readiness names the part that is away."""
    settings = load(Settings, auth_mode="dev", bind="127.0.0.1", instance="desk-1")
    service = Service(name="desk", settings=settings, pings=[away])
    with TestClient(create_app(service)) as client:
        body = client.get("/health").json()
        assert body["instance"] == "desk-1" and body["role"] == "desk" and body["status"] == "ok"
        found = problem_of(client.get("/ready"), 503, "not_ready")
        assert found["away"] == {"away": "the ledger is away; start it"}


def test_metrics_carry_templates_never_paths(client: TestClient) -> None:
    """A symbol in a path never becomes a label."""
    client.post("/orders/BTC%2FUSDT", json={"price": 1})
    client.get("/nowhere/secret")
    text = client.get("/metrics").text
    assert 'route="/orders/{symbol:path}"' in text and 'route="unmatched"' in text
    assert "BTC" not in text and "nowhere" not in text


def test_docs_and_schema_need_no_other_host(client: TestClient) -> None:
    """The docs page and its assets come from this process; refusals are described as problems."""
    page = client.get("/docs").text
    assert "cdn" not in page and "https://" not in page
    assert len(client.get("/docs-assets/swagger-ui-bundle.js").content) > 100_000
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/orders/{symbol}"]["post"]
    assert operation["x-scope"] == "train"
    assert {"401", "403", "409", "422"} <= operation["responses"].keys()
    assert "application/problem+json" in operation["responses"]["422"]["content"]
    assert operation["responses"]["403"]["description"] == "The account is closed. Or: The key lacks the scope train."
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "Problem" in document["components"]["schemas"]


def test_sweep_finds_an_open_route() -> None:
    """The sweep names a changing route without a scope, also in a nested router, and passes the others."""
    forgotten = APIRouter(prefix="/inner")
    forgotten.post("/wipe")(lambda: None)
    outer = APIRouter(prefix="/outer")
    outer.include_router(forgotten)
    settings = load(Settings, auth_mode="dev", bind="127.0.0.1")
    assert open_routes(create_app(Service(name="desk", settings=settings, routers=[desk()]))) == []
    found = open_routes(create_app(Service(name="desk", settings=settings, routers=[desk(), outer])))
    assert found == ["POST /outer/inner/wipe"]


def test_loops_run_for_as_long_as_the_app() -> None:
    """Loops start in order and stop in reverse; a loop that cannot start stops those before it."""
    events: list[str] = []

    class Recorded:
        def __init__(self, name: str, fails: bool = False) -> None:
            self.name, self.fails = name, fails

        def start(self) -> None:
            if self.fails:
                raise Unavailable("cannot start")
            events.append(f"start {self.name}")

        def stop(self) -> None:
            events.append(f"stop {self.name}")

    settings = load(Settings, auth_mode="dev", bind="127.0.0.1")
    service = Service(name="desk", settings=settings, loops=[Recorded("a"), Recorded("b")])
    service.close.append(lambda: events.append("close"))
    with TestClient(create_app(service)):
        assert events == ["start a", "start b"]
    assert events == ["start a", "start b", "stop b", "stop a", "close"]
    events.clear()
    service.loops = [Recorded("a"), Recorded("b", fails=True)]
    with pytest.raises(Unavailable), TestClient(create_app(service)):
        pass
    assert events == ["start a", "stop a", "close"]


def test_ready_tells_a_part_that_the_role_works_without() -> None:
    """A needed part that is away makes it 503; a spare one is named, and the role stays ready."""
    settings = load(Settings, auth_mode="dev", bind="127.0.0.1")
    with TestClient(create_app(Service(name="desk", settings=settings, spare=[away]))) as client:
        answer = client.get("/ready")
        assert answer.status_code == 200
        assert answer.json() == {"status": "ok", "parts": [], "degraded": {"away": "the ledger is away; start it"}}
    with TestClient(create_app(Service(name="desk", settings=settings, pings=[away]))) as client:
        assert problem_of(client.get("/ready"), 503, "not_ready")["away"] == {"away": "the ledger is away; start it"}


def test_time_for_a_body_grows_with_its_length_alone() -> None:
    """Escaped quotes without an end were once looked at again from each of them: 200 kB took a minute."""
    started = time.monotonic()
    for end in (b"", b"\\", b'"'):
        body = b'{"price": "' + b'\\"' * 100_000 + end
        assert flaw(body) is None
    assert time.monotonic() - started < 20


def test_a_body_of_more_values_than_may_be_parsed_at_once() -> None:
    """Two megabytes can be a million small things, and parsing them would hold up every other request."""
    for piece, most in ((b"1", MAX_VALUES), (b"[]", MAX_VALUES // 2), (b'{"a":1}', MAX_MEMBERS)):
        flaws = [flaw(b"[" + b",".join([piece] * count) + b"]") for count in (most, most + 1)]
        assert flaws[0] is None
        assert f"{MAX_VALUES} values or {MAX_MEMBERS} members" in str(flaws[1])
