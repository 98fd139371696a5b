"""A hundred megabytes where a request should be: refused early, and the process stays as small as it was (R15)."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psutil
import pytest

from services.fleet.local.ports import free_ports
from tests.services.fleet.edge.test_edge import process

FLOOD = 100 * 2**20
GROWTH = 40 * 2**20  #: bytes that a process may grow by; its body limit is 8 MiB
PIECE = b"1" * 65_536
CHUNK = b"10000\r\n" + PIECE + b"\r\n"
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\n"
FLOODS = {
    "a body with its length": (HEAD + b"content-type: application/json\r\ncontent-length: 104857600\r\n\r\n", PIECE),
    "a body in chunks": (HEAD + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n", CHUNK),
    "no JSON, in chunks": (HEAD + b"content-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n", CHUNK),
    "a request line": (b"GET /", PIECE),
    "a header": (HEAD + b"x: ", PIECE),
    "headers": (HEAD, b"x: y\r\n" * 10_000),
    "trailers": (HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ", PIECE),
    "an extension of a chunk": (HEAD + b"transfer-encoding: chunked\r\n\r\n2;x=", PIECE),
}


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, tuple[int, int]]]:
    """Port and process id of a predictor and of an edge before it, in processes of their own."""
    with ExitStack() as stack:
        found: dict[str, tuple[int, int]] = {}
        predictor, edge = free_ports(2)
        found["predictor"] = predictor, stack.enter_context(process("predictor", predictor)).pid
        env = {"TIDEWHEEL_UPSTREAM_PREDICTOR": f"http://127.0.0.1:{predictor}"}
        found["edge"] = edge, stack.enter_context(process("edge", edge, **env)).pid
        yield found


def flood(port: int, pids: list[int], head: bytes, piece: bytes) -> tuple[bytes, int, int]:
    """Send until an answer comes or the line is cut: the answer, bytes sent, and by how much the largest grew."""
    watched = [psutil.Process(pid) for pid in pids]
    before = [each.memory_info().rss for each in watched]
    sent, answer, grown, rest = 0, b"", 0, memoryview(head)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setblocking(False)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                took = connection.send(rest)
                sent, rest = sent + took, rest[took:] or memoryview(piece)
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                break
            try:
                answer = connection.recv(4_096)
                break
            except BlockingIOError:
                pass
            except OSError:
                break
            if sent > FLOOD or grown > GROWTH:
                break
            grown = max(grown, *(now.memory_info().rss - old for now, old in zip(watched, before, strict=True)))
    return answer, sent, grown


@pytest.mark.parametrize("role", ["predictor", "edge"])
@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_is_cut_off(ports: dict[str, tuple[int, int]], role: str, kind: str) -> None:
    """The answer is a 4xx, or the line is cut, before a tenth of it was read; memory stays flat."""
    port, _ = ports[role]
    answer, sent, grown = flood(port, [pid for _, pid in ports.values()], *FLOODS[kind])

    assert sent < 20 * 2**20
    assert grown < GROWTH
    # Where the line was cut with bytes still under way, the answer may be lost to the reset.
    assert answer == b"" or (answer.startswith(b"HTTP/1.1 4") and b"application/problem+json" in answer)
    assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).status_code == 200


def test_a_reader_without_a_limit_is_caught() -> None:
    """The measure bites: the same flood on a role that may read a gigabyte."""
    (port,) = free_ports(1)
    with process("predictor", port, TIDEWHEEL_MAX_BODY_BYTES=str(2**30)) as started:
        _, sent, grown = flood(port, [started.pid], *FLOODS["a body in chunks"])

    assert sent > 20 * 2**20
    assert grown > GROWTH
