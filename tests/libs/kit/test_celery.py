import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.fleet.local.ports import free_ports
from tests.waiting import until
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.messages import IngestSeal, TrainRun
from tidewheel.kit.celery import Sender, celery_app


@contextmanager
def worker(url: str, pool: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = (folder / "log").open("wb")
    command = [sys.executable, "-m", "tests.libs.kit.working", url, pool, str(folder)]
    with log, subprocess.Popen(command, stderr=log, stdout=log) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def events(url: str) -> Iterator[list[dict[str, Any]]]:
    """What flower would see."""
    seen: list[dict[str, Any]] = []
    app, ready = celery_app(url), threading.Event()
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        receiver.on_consume_ready = lambda *_, **__: ready.set()
        thread = threading.Thread(target=receiver.capture)
        thread.start()
        try:
            assert ready.wait(10)
            # Events are published, not queued, and the subscription follows a moment after `ready`: knock until heard.
            with app.connection() as knocking, app.events.Dispatcher(knocking) as dispatcher:

                def heard() -> bool:
                    dispatcher.send("knock")
                    return bool(seen)

                until(heard)
            yield seen
        finally:
            receiver.should_stop = True
            thread.join()
    app.close()


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_message_reaches_its_handler(redis_url: str, tmp_path: Path, pool: str) -> None:
    """A sent message runs its handler in the worker; a failing one is marked and logged, and the next one runs."""
    sender = Sender(redis_url)
    with events(redis_url) as seen, worker(redis_url, pool, tmp_path) as process:
        sent = sender.send(IngestSeal(stream="binance:BTC/USDT:1m"))
        failed = sender.send(IngestSeal(stream="bad:X/Y:1m"))
        last = sender.send(TrainRun(run_id=7))
        until((tmp_path / "run-7").exists)
        expected = {("task-succeeded", last), ("task-failed", failed)}
        expected |= {(f"task-{stage}", sent) for stage in ("sent", "received", "started", "succeeded")}
        until(lambda: expected <= {(event["type"], event.get("uuid")) for event in seen})
        assert ("task-succeeded", failed) not in {(event["type"], event.get("uuid")) for event in seen}
        handled_by = (tmp_path / "seal-binance:BTC_USDT:1m").read_text()
        assert (handled_by == str(process.pid)) == (pool == "threads")
        assert {path.name for path in tmp_path.glob("built-*")} == {f"built-{handled_by}"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(8) == 0
    sender.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    told = [line for line in lines if line["event"] == "task_failed"]
    assert len(told) == 1
    assert told[0]["request_id"] == failed and told[0]["message"] == {"stream": "bad:X/Y:1m"}
    assert "stream 'bad:X/Y:1m' is bad" in told[0]["exception"]
    assert any(line["event"] == "task_done" and line["message"] == {"run_id": 7} for line in lines)
    assert {line["role"] for line in lines} == {"worker"}


def test_term_tells_the_service_at_once(redis_url: str, tmp_path: Path) -> None:
    """SIGTERM calls on_shutdown while a task runs, so that a long run ends itself and the worker is gone in seconds."""
    sender = Sender(redis_url)
    with worker(redis_url, "threads", tmp_path) as process:
        sender.send(TrainRun(run_id=99))
        until((tmp_path / "run-99").exists)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(8) == 0
        assert time.monotonic() - started < 6
    assert (tmp_path / "run-99-ended").read_text() == "told"
    sender.close()


def test_message_waits_for_a_worker(redis_url: str, tmp_path: Path) -> None:
    """What is sent while no worker lives is handled by the next one."""
    sender = Sender(redis_url)
    sender.send(TrainRun(run_id=3))
    with worker(redis_url, "threads", tmp_path):
        until((tmp_path / "run-3").exists)
    sender.close()


def test_sender_says_that_the_broker_is_away() -> None:
    """A dead broker is a sentence within seconds, with the password masked."""
    sender = Sender(f"redis://:hunter2@127.0.0.1:{free_ports(1)[0]}/0")
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"message broker at redis://:\*\*\*@127\.0\.0\.1:\d+/0 is away"):
        sender.send(TrainRun(run_id=1))
    assert time.monotonic() - started < 5


def test_sender_does_not_wait_for_a_silent_broker() -> None:
    """A broker that accepts and never answers is given up within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = Sender(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        with pytest.raises(Unavailable):
            sender.send(TrainRun(run_id=1))
        assert time.monotonic() - started < 15
