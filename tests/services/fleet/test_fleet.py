"""The embedded fleet as a user meets it: real processes, from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from services.fleet.local.fleet import answers
from services.fleet.local.ports import free_ports, require_free
from tests.services.fleet.local.test_supervisor import gone
from tests.waiting import until
from tidewheel.contracts.errors import BadSetting
from tidewheel.contracts.keys import FAMILY

BARS = 6_500
FIRST = 1_700_000_100_000  # UTC ms of the first bar


def recorded(folder: Path) -> Path:
    """Five-minute candles in which calm and storm alternate, as a CSV file."""
    rng = np.random.default_rng(7)
    storm = (np.arange(BARS) // 150) % 2 == 1
    close = 100 * np.exp(np.cumsum(rng.standard_normal(BARS) * np.where(storm, 6e-3, 1e-3)))
    opened = np.concatenate(([100.0], close[:-1]))
    rows = [
        f"{FIRST + 300_000 * bar},{o:.6f},{max(o, c) * 1.0005:.6f},{min(o, c) * 0.9995:.6f},{c:.6f},10"
        for bar, (o, c) in enumerate(zip(opened, close, strict=True))
    ]
    file = folder / "ETH_BTC-5m.csv"
    file.write_text("\n".join(["open_time,open,high,low,close,volume", *rows]) + "\n")
    return file


def tidewheel(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    base = {"PATH": os.environ["PATH"], "HOME": str(folder), "TIDEWHEEL_HOME": str(folder / "home")}
    return subprocess.Popen(
        [sys.executable, "-m", "services.fleet.cli", *arguments],
        env={**base, **(environment or {})},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_replay_runs_the_loop_on_recorded_candles(tmp_path: Path) -> None:
    """`tidewheel demo --replay` ingests every bar, judges a model, counts, and leaves no process behind."""
    file = recorded(tmp_path)
    demo = tidewheel(tmp_path, "demo", "--replay", str(file), "--timeframe", "5m", "--json")
    seen = set()
    while demo.poll() is None:
        seen |= (
            {each.pid for each in psutil.Process(demo.pid).children(recursive=True)} if not gone(demo.pid) else set()
        )
        time.sleep(0.2)
    out, err = demo.communicate()

    assert demo.returncode == 0, err
    report = json.loads(out)
    assert report["bars"] == {"binance:ETH/BTC:5m": BARS}
    assert report["claims"] == {"processed": report["files"]}
    (judged,) = [each for each in report["verdicts"] if each["family"] == FAMILY]  # a baseline is trained, too
    assert judged["state"] in ("promoted", "refused")
    assert judged["numbers"]
    assert report["failed_requests"] == 0
    assert (report["requests"] > 0) == (judged["state"] == "promoted")
    assert sum(count for name, count in report["tasks"].items() if "tidewheel.train.run" in name) >= 1
    assert {"valkey", "edge", "predictor", "keeper"} <= set(report["memory_mib"])
    assert len(seen) > 8
    until(lambda: all(gone(pid) for pid in seen))


def test_candles_of_another_timeframe_are_refused_before_anything_starts(tmp_path: Path) -> None:
    """A wrong --timeframe ends the demo with status 1 and the remedy."""
    file = recorded(tmp_path)
    demo = tidewheel(tmp_path, "demo", "--replay", f"ETH_BTC-5m={file}", "--timeframe", "1h")
    _, err = demo.communicate()

    assert demo.returncode == 1
    assert err.startswith("tidewheel: the candles are of 5m")
    assert not (tmp_path / "home" / "demo" / "logs").exists()


@contextmanager
def exchange(folder: Path) -> Iterator[str]:
    """A simulated exchange that replays the recorded file, in a process of its own."""
    port = free_ports(1)[0]
    replay = ("--replay", str(recorded(folder)))
    process = tidewheel(folder, "serve", "exchange-sim", "--port", str(port), *replay)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/api/v3/ping"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def up(folder: Path, base: int, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """`tidewheel up`, ready; stopped by Ctrl-C at the end, and nothing of it left."""
    # A shell starts background jobs with Ctrl-C ignored, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    fleet = tidewheel(folder, "up", "--port-base", str(base), environment=environment)
    assert fleet.stderr is not None
    said = []
    for line in fleet.stderr:
        said.append(line)
        if "The fleet is up" in line:
            break
    else:
        pytest.fail("".join(said))
    wards = [each.pid for each in psutil.Process(fleet.pid).children(recursive=True)]
    try:
        yield fleet
    finally:
        fleet.send_signal(signal.SIGINT)
        _, err = fleet.communicate(timeout=60)
    assert fleet.returncode == 0, err
    until(lambda: all(gone(pid) for pid in wards))


def test_a_second_up_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    """Ctrl-C leaves no process; the next `up` of the home has the same candles, and status tells of both."""
    base = free_base()
    with exchange(tmp_path) as url:
        environment = {
            "EXCHANGE_URL": url,
            "SYMBOLS": "ETH/BTC",
            "TIMEFRAME": "5m",
            "START_TS": str(FIRST),
            "INGEST_CRON": "off",
            "RETRAIN_CRON": "off",
        }
        with up(tmp_path, base, environment):
            answer = httpx.post(f"http://127.0.0.1:{base}/ingest_once", params={"until": "now"}, timeout=60)
            assert answer.status_code == 200, answer.text
            (stream,) = status(tmp_path)["streams"]
            assert stream["bars"] == BARS
            rival = tidewheel(tmp_path, "up", "--port-base", str(free_ports(1)[0]))
            assert rival.communicate()[1].startswith("tidewheel: a fleet already runs in")
            assert rival.returncode == 1
        assert status(tmp_path)["processes"] == []
        with up(tmp_path, base, environment):
            told = status(tmp_path)
            assert told["streams"] == [stream]
            assert {each["state"] for each in told["processes"]} == {"running"}


def free_base() -> int:
    """A port base whose neighbours are free too."""
    for base in range(20_000 + os.getpid() % 1_000 * 10, 32_000, 10):
        try:
            for port in range(base, base + 10):
                require_free(port, "test")
        except BadSetting:
            continue
        return base
    raise AssertionError("no ten free ports in a row")


def status(folder: Path) -> dict[str, Any]:
    asked = tidewheel(folder, "status", "--json")
    out, err = asked.communicate()
    told: dict[str, Any] = json.loads(out)
    assert asked.returncode == (1 if told["warnings"] else 0), err
    return told
