"""Clients that take their time, and more of them than a role can serve: each wait ends, and others are answered."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import repeat

import pytest
from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from services.fleet.prove.apparatus.beside import served
from tests.waiting import until
from tidewheel.kit.service import Service
from tidewheel.kit.settings import Settings, load
from tidewheel.kit.web import create_app

PATIENCE = 0.5
SLOTS = 3


class Desk:
    """A route that holds a slot until it is told, one that reads a body, and one whose answer never ends."""

    def __init__(self) -> None:
        self.go_on, self.holding = threading.Event(), threading.Semaphore(0)

    def router(self) -> APIRouter:
        router = APIRouter()

        @router.post("/hold")
        def hold() -> str:
            self.holding.release()
            self.go_on.wait(30)
            return "done"

        @router.post("/take")
        async def take(request: Request) -> int:
            return len(await request.body())

        @router.get("/endless")
        def endless() -> StreamingResponse:
            return StreamingResponse(repeat(b"x" * 65_536))

        return router


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.go_on.set()


@pytest.fixture
def port(desk: Desk) -> Iterator[int]:
    settings = load(Settings, auth_mode="dev", bind="127.0.0.1", client_seconds=PATIENCE, max_in_flight=SLOTS)
    app = create_app(Service(name="desk", settings=settings, routers=[desk.router()]))
    with served(app, PATIENCE) as url:
        yield int(url.rpartition(":")[2])


def asked(port: int, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def dripped(port: int, head: bytes, drop: bytes) -> bytes:
    """All that the server says to a client that sends `head`, and then `drop` again and again until it is cut off."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(head)
        client.settimeout(PATIENCE / 5)
        for _ in range(300):
            try:
                piece = client.recv(65_536)
                if not piece:
                    return said
                said += piece
            except TimeoutError:
                assert asked(port, "GET", "/health")[0] == 200
            except ConnectionResetError:
                return said
            try:
                client.sendall(drop)
            except OSError:
                return said
    raise AssertionError(f"the server still listens to a client that drips; it said {said!r}")


def status_of(said: bytes) -> int:
    return int(said.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ", 408, b"the head of the request did not arrive within 0.5 s"),
        (b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n", 408, b"TIDEWHEEL_CLIENT_SECONDS"),
        (
            b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n",
            408,
            b"TIDEWHEEL_CLIENT_SECONDS",
        ),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n", 404, b"no route answers this path"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nX-Slow: ", 200, b"408"),
    ],
    ids=["headers", "body", "JSON body", "unwanted body", "second request"],
)
def test_who_drips_is_cut_off(port: int, head: bytes, status: int, words: bytes) -> None:
    """Every part of a request has its time, however often a byte of it comes; others are answered meanwhile."""
    said = dripped(port, head, b"A")
    assert status_of(said) == status and words in said


def test_connections_without_a_request_end(port: int) -> None:
    """Idle connections are closed without a word, and hinder nobody while they are open."""
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(150)]
        assert asked(port, "GET", "/health")[0] == 200
        assert {client.recv(1) for client in idle} == {b""}


def test_answer_that_nobody_reads_ends(port: int, desk: Desk) -> None:
    """Clients that stop reading take every slot, until they lose their connections."""
    desk.go_on.set()
    with ExitStack() as stack:
        for _ in range(SLOTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        until(lambda: asked(port, "POST", "/hold")[0] == 200)


def test_more_requests_than_slots_are_shed(port: int, desk: Desk) -> None:
    """The next one is told at once to come back; probes are answered all the while; then there is room again."""
    held = [threading.Thread(target=asked, args=(port, "POST", "/hold")) for _ in range(SLOTS)]
    for each in held:
        each.start()
        assert desk.holding.acquire(timeout=30)
    status, headers, body = asked(port, "POST", "/hold")
    problem = json.loads(body)
    assert (status, problem["code"], problem["retry_after"]) == (429, "overloaded", 1)
    assert headers["retry-after"] == "1" and headers["content-type"] == "application/problem+json"
    assert "3 requests are in flight" in problem["detail"]
    assert [asked(port, "GET", path)[0] for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]
    desk.go_on.set()
    for each in held:
        each.join()
    assert asked(port, "POST", "/hold")[0] == 200
