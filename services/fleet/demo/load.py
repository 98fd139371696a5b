"""Steady load on `POST /predict` from a process of its own: `python -m services.fleet.demo.load URL RATE FILE`.

Appends one line of JSON for each request, the members of `Answered`. It stops at SIGTERM.
"""

import http.client
import json
import math
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

_THREADS = 4
_BARS = 60
_TIMEOUT_SECONDS = 10.0
LOGRET = [round(1e-3 * math.sin(0.7 * bar), 9) for bar in range(_BARS)]  #: what every request asks about


@dataclass(frozen=True, slots=True)
class Answered:
    """One request of the load."""

    sent_at: int  #: UTC ms
    milliseconds: float  #: until the whole answer was read
    status: int  #: HTTP status; 0 = no answer
    version: str | None  #: X-Model-Version
    body_version: str | None = None  #: `model_version` of the answer's body
    bull: float | None = None  #: the probability that it gives to the state bull

    @property
    def answered_at(self) -> float:
        """UTC ms at which the answer was there."""
        return self.sent_at + self.milliseconds

    @property
    def failed(self) -> bool:
        """Whether the caller got anything but a prediction that names its model."""
        return self.status != 200 or self.version is None


def read(path: Path) -> list[Answered]:
    """The requests that a load recorded, in the order of their sending."""
    with path.open() as lines:
        return sorted((Answered(*json.loads(line)) for line in lines), key=lambda each: each.sent_at)


def run(url: str, rate: float, sink: TextIO, stop: threading.Event) -> None:
    """Send `rate` requests a second to `url` until `stop` is set; a late thread skips beats, it never bunches them."""
    lock = threading.Lock()
    threads = [
        threading.Thread(target=_beat, args=(url, _THREADS / rate, number / rate, sink, lock, stop), daemon=True)
        for number in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.flush()


def _beat(url: str, period: float, first: float, sink: TextIO, lock: threading.Lock, stop: threading.Event) -> None:
    address = urlsplit(url).netloc
    body = json.dumps({"logret": LOGRET})
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_SECONDS)
    due = time.monotonic() + first
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + period, time.monotonic())
        sent_at, started = time.time_ns() // 1_000_000, time.perf_counter()
        status, version = 0, None
        said: tuple[str | None, float | None] = (None, None)
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = _said(answer.read())
            status, version = answer.status, answer.headers.get("X-Model-Version")
        except (OSError, http.client.HTTPException):
            connection.close()
        line = json.dumps([sent_at, round((time.perf_counter() - started) * 1_000, 3), status, version, *said])
        with lock:
            sink.write(f"{line}\n")
    connection.close()


def _said(body: bytes) -> tuple[str | None, float | None]:
    """Version and probability in an answer's body; None for what it does not tell."""
    try:
        told = json.loads(body)
        return told["model_version"], told["probs"]["bull"]
    except (ValueError, KeyError, TypeError):
        return None, None


def main() -> None:
    """Run until SIGTERM."""
    url, rate, file = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Path(file).open("w", buffering=1) as sink:
        run(url, float(rate), sink, stop)


if __name__ == "__main__":
    main()
