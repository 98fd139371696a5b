"""The load generator against a real HTTP server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from services.fleet.demo import load


class Predictor(BaseHTTPRequestHandler):
    """Answers with the server's version; refuses every fifth request, and breaks off every seventh."""

    protocol_version = "HTTP/1.1"
    seen = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        with self.lock:
            number = Predictor.seen = Predictor.seen + 1
        self.rfile.read(int(self.headers["Content-Length"]))
        if number % 7 == 0:
            self.close_connection = True
            return
        self.send_response(503 if number % 5 == 0 else 200)
        self.send_header("X-Model-Version", "v1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing on the tests' screen."""


@contextmanager
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Predictor)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_load_counts_every_failure(tmp_path: Path) -> None:
    """A refusal and a broken connection are failures, a prediction is not, and none is missing."""
    file = tmp_path / "load.jsonl"
    stop = threading.Event()
    with served() as url, file.open("w") as sink:
        threading.Timer(1.0, stop.set).start()
        begun = time.time() * 1_000
        load.run(url, 200.0, sink, stop)
    requests = load.read(file)

    assert len(requests) == Predictor.seen
    assert 50 < len(requests) <= 202
    broken, refused = (sum(each.status == status for each in requests) for status in (0, 503))
    assert broken == Predictor.seen // 7
    assert refused == Predictor.seen // 5 - Predictor.seen // 35
    assert sum(each.failed for each in requests) == broken + refused
    assert all(begun - 1 <= each.sent_at <= each.answered_at for each in requests)
