"""Odd requests of every kind, on every route that takes a POST, directly and through the edge (R15)."""

import gzip
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest

from tests.edges.conftest import FACES, MAX_BODY, Standing
from tests.edges.test_scopes import ways
from tests.waiting import until
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import Scope

JSON = "application/json"
BODIES = {
    "NaN": b'{"logret": [NaN]}',
    "-Infinity": b'{"logret": [-Infinity]}',
    "1e400": b'{"logret": [1e400]}',
    "400 digits": b'{"logret": [' + b"9" * 400 + b".0]}",
    "5000 digits": b'{"logret": [' + b"9" * 5_000 + b"]}",
    "a huge open time": b'{"bars": [[' + b"9" * 30 + b", 1, 1, 1, 1, 1]]}",
    "a name twice": b'{"stream": "binance:BTC/USDT:1m", "stream": "binance:BTC/USDT:1m"}',
    "a name twice, once escaped": b'{"stream": "binance:BTC/USDT:1m", "\\u0073tream": "binance:BTC/USDT:1m"}',
    "lists in lists": b'{"logret": ' + b"[" * 100_000,
    "objects in objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "half a surrogate pair": b'{"stream": "\\ud800"}',
    "a NUL": b'{"stream": "binance:BTC\\u0000/USDT:1m"}',
    "UTF-16": '{"stream": "binance:BTC/USDT:1m"}'.encode("utf-16"),
    "UTF-32": '{"stream": "binance:BTC/USDT:1m"}'.encode("utf-32-le"),
    "a byte order mark": b'\xef\xbb\xbf{"stream": "binance:BTC/USDT:1m"}',
    "Latin-1": b'{"stream": "binance:\xff/USDT:1m"}',
    "nothing": b"",
    "a NUL byte": b"\x00",
    "a scalar": b"1",
    "cut JSON": b'{"logret": [0.1',
    "many members": b"{" + b",".join(b'"m%d":0' % n for n in range(20_000)) + b"}",
    "a long name": b'{"' + b"x" * 200_000 + b'": 1}',
    "a gzip bomb": gzip.compress(b"0" * 10_000_000, 9),
    "too much": b" " * (MAX_BODY + 1),
}
KINDS = ("text/plain", "application/xml", "multipart/form-data", "application/json; charset=utf-16", "", "\u00ff")
TARGETS = (
    *("/runs/%00", "/runs/99999999999999999999", "/runs/-9223372036854775809", "/runs/1%2F2", "/runs/", "//runs"),
    *("/model/", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/runs/%2e%2e/model", "/docs-assets/%00"),
    *("/docs-assets/%2e%2e/%2e%2e/__init__.py", "/docs-assets/" + "a" * 300, "/docs-assets/%ff", "/%", "/%zz", "/\\"),
    *("/candles?stream=binance:BTC%00:1m", "/candles?stream=%ff%fe", "/candles?stream=" + "x" * 20_000, "/candles"),
    *("/candles?stream=binance:BTC/USDT:1m&start=%00", "/candles?stream=binance:BTC/USDT:1m&end=" + "9" * 20),
    *("/runs?limit=1e3", "/runs?limit=" + "9" * 30, "/runs?limit=0", "/runs?limit=1&limit=x", "/model/promote/%00"),
)
RAW = {
    "no HTTP": b"GARBAGE\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00" * 8,
    "a header without a colon": b"GET /runs HTTP/1.1\r\nhost\r\n\r\n",
    "a path of high bytes": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "a NUL in the target": b"GET /runs?\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
    "two lengths": b"POST /predict HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length below nothing": b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
    "a length beyond integers": b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 40 + b"\r\n\r\n",
    "100 MB by its length": b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n",
    "a method of nobody's": b"BREW /runs HTTP/1.1\r\nhost: x\r\n\r\n",
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "TRACE": b"TRACE /runs HTTP/1.1\r\nhost: x\r\n\r\n",
    "the asterisk": b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    "an upgrade": b"GET /nowhere HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    "a long request line": b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET /runs HTTP/1.1\r\nx: " + b"x" * 300_000,
    "many headers": b"GET /runs HTTP/1.1\r\n" + b"x: y\r\n" * 60_000,
    "40 KB of headers": b"GET /runs HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(6_000)) + b"\r\n",
}  # fmt: skip


@dataclass
class Answers:
    """Every answer that was not a problem of the caller's making."""

    asked: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, what: str, answer: httpx.Response, *, may_pass: bool = False) -> None:
        """Count an answer; `may_pass`: the route takes no body, and may well do what it is for."""
        self.asked += 1
        refused = 400 <= answer.status_code < 500 and answer.headers.get("content-type") == "application/problem+json"
        if not refused and not (may_pass and answer.status_code in (200, 202)):
            self.wrong.append(f"{what}: {answer.status_code} {answer.text[:200]}")


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as opened:
        yield opened


def test_bodies(standing: Standing, client: httpx.Client) -> None:
    """Whatever body is sent, with or without a length and under whatever name: a problem of the caller's."""
    answers = Answers()
    for method, url, scope in ways(standing):
        if method != "POST":
            continue
        takes_body = url.endswith("/predict")
        for what, body in BODIES.items() if takes_body else list(BODIES.items())[::6]:
            headers = {**standing.bearer(scope), "content-type": JSON}
            for content in (body, iter([body[:7], body[7:]])):
                answer = client.post(url, headers=headers, content=content)
                answers.add(f"{url} {what}", answer, may_pass=not takes_body)
        for kind in KINDS if takes_body else KINDS[::5]:
            key = standing.bearer(scope)["Authorization"].encode()
            typed = {b"authorization": key, b"content-type": kind.encode("latin-1")}
            answer = client.post(url, headers=typed, content=b'{"stream": "binance:BTC/USDT:1m"}')
            answers.add(f"{url} {kind!r}", answer, may_pass=not takes_body or kind.startswith(JSON))

    assert answers.wrong == []
    assert answers.asked > 250


def test_targets(standing: Standing, client: httpx.Client) -> None:
    """Whatever path or query is asked for: a problem of the caller's; nothing outside is read, nothing redirects."""
    answers = Answers()
    for role in FACES:
        for target in TARGETS:
            url = httpx.URL(standing.address[role]).copy_with(raw_path=target.encode())
            answers.add(f"{role} {target[:60]}", client.get(url, headers=standing.bearer(Scope.ADMIN)))

    assert answers.wrong == []
    assert answers.asked == len(FACES) * len(TARGETS)


@pytest.mark.parametrize("role", FACES)
def test_what_is_no_request(standing: Standing, role: Role) -> None:
    """What is not HTTP, or not ours, is told so in a problem, and the connection is not left hanging."""
    wrong = []
    for what, raw in RAW.items():
        answer = told(standing.address[role], raw)
        if not (answer.startswith(b"HTTP/1.1 4") and b"application/problem+json" in answer):
            wrong.append(f"{what}: {answer[:200]!r}")

    assert wrong == []


def told(address: str, raw: bytes) -> bytes:
    """The head of the answer to these bytes; what the server no longer takes is not sent."""
    parts = urlsplit(address)
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=30) as connection:
        connection.setblocking(False)
        rest, answer, deadline = memoryview(raw), b"", time.monotonic() + 30
        while b"\r\n\r\n" not in answer and time.monotonic() < deadline:
            try:
                rest = rest[connection.send(rest) :] if rest else rest
            except BlockingIOError:
                pass
            except OSError:
                rest = memoryview(b"")  # hung up on; the answer is there
            try:
                got = connection.recv(65_536)
                if not got:
                    break
                answer += got
            except BlockingIOError:
                time.sleep(0.002)
            except OSError:
                break
        return answer


def test_a_cut_body_is_not_acted_on(standing: Standing, client: httpx.Client) -> None:
    """A sender that breaks off in its body has asked for nothing, directly or through the edge."""
    before = runs(standing, client)
    client.post(f"{standing.address[Role.EDGE]}/runs/{before[0]}/cancel", headers=standing.bearer(Scope.TRAIN))
    for role in (Role.ML_TRAINER, Role.EDGE):
        parts = urlsplit(standing.address[role])
        key = standing.keys[Scope.TRAIN]
        for sent in (b"", b"{"):
            head = f"POST /train HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: {JSON}\r\n"
            with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=30) as connection:
                connection.sendall(head.encode() + b"content-length: 2\r\n\r\n" + sent)
        health = client.get(f"{standing.address[role]}/health")
        assert health.status_code == 200
    wait_until_idle(standing, client)

    assert runs(standing, client) == before


def runs(standing: Standing, client: httpx.Client) -> list[int]:
    answer = client.get(f"{standing.address[Role.ML_TRAINER]}/runs", headers=standing.bearer(Scope.READ))
    return [run["run_id"] for run in answer.json()["runs"]]


def wait_until_idle(standing: Standing, client: httpx.Client) -> None:
    """Until no request is in flight in any app but the one that asks."""

    def idle() -> bool:
        text = client.get(f"{standing.address[Role.EDGE]}/metrics").text
        flying = [line for line in text.splitlines() if line.startswith("tidewheel_http_requests_in_flight{")]
        assert flying
        return sum(float(line.split()[-1]) for line in flying) <= 1

    until(idle)
