"""Servers as processes of their own, and sixteen clients that ask them."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.fleet.local.fleet import answers

CONNECTIONS = 16


class Engines:
    """Sixteen clients of one server, each with a connection of its own."""

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


def app_command(module: str, port: int, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment that serve `module`'s `build()` as a desk would: uvicorn alone."""
    serve = ["-m", "uvicorn", "--factory", f"{module}:build", "--port", str(port), "--no-access-log"]
    return [sys.executable, *serve, *arguments], {"PYTHONPATH": str(Path(__file__).parents[2])}
