"""The start-of-day check: what wants attention is said first, on one screen, whatever is away."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.fleet.cli import main
from services.fleet.keeper.settings import KeeperSettings
from services.fleet.local.ports import free_ports
from services.fleet.status.parts import status
from services.fleet.status.screen import screen
from tests.libs.ledger.rows import published
from tests.libs.market.sim.made import candles
from tidewheel.contracts.keys import FAMILY, StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger, migrate, open_ledger

BTC = StreamKey("binance", "BTC/USDT", "1m")


def settings(home: Path, redis_url: str = "redis://127.0.0.1:9/0") -> KeeperSettings:
    return load(KeeperSettings, tidewheel_home=home, redis_url=redis_url)


@pytest.fixture
def home_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger of an otherwise empty home, `tmp_path`."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path))
    migrate(str(tmp_path / "ml/manifest.sqlite"), tmp_path / "ml")
    return open_ledger(str(tmp_path / "ml/manifest.sqlite"), tmp_path / "ml")


def fleet_file(home: Path, **about: Any) -> None:
    me = psutil.Process()
    rows = [
        {"name": "edge", "pid": me.pid, "created": me.create_time(), "port": 1},
        {"name": "worker", "pid": me.pid, "created": me.create_time() - 1_000, "port": None},
    ]
    (home / "run").mkdir()
    (home / "run/fleet.json").write_text(json.dumps({"pid": os.getpid(), **about, "processes": rows}))


def test_all_is_well_is_status_zero(home_ledger: Ledger, tmp_path: Path, redis_url: str) -> None:
    """Nothing to say where a keeper leads, the broker answers and the streams are fresh."""
    with home_ledger.leases.hold("keeper", "keeper-1", 60_000):
        home_ledger.replicas.beat("predictor-1", "predictor", FAMILY, None, None)
        told = status(settings(tmp_path, redis_url))
    home_ledger.close()

    assert told["warnings"] == []
    assert (told["keeper"], set(told["queues"].values())) == ("keeper-1", {0})
    assert "All is well." in screen(told, 80, 24)


def test_a_kill_switch_wants_attention(home_ledger: Ledger, tmp_path: Path, redis_url: str) -> None:
    """Nobody wonders for long why no parameter changes and no model is promoted."""
    home_ledger.switches.trip(None, "key:desk", "news", "hand")
    told = status(settings(tmp_path, redis_url))
    home_ledger.close()

    assert told["kill_switches"] == [{"scope": "fleet", "cause": "hand"}]
    (said,) = (each for each in told["warnings"] if "kill switch" in each)
    assert re.match(r"the kill switch of fleet was tripped by key:desk at 20[-0-9T:]{14}: news$", said), said


def test_everything_away_is_told_in_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without ledger, broker, edge and worker there is a screen and exit status 1, and no traceback."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    (port,) = free_ports(1)
    fleet_file(tmp_path, address=f"http://127.0.0.1:{port}", flower="")
    with pytest.raises(SystemExit) as ended:
        main(["status"])
    shown = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["status", "--json"])
    told = json.loads(capsys.readouterr().out)

    assert ended.value.code == 1
    assert "4 things want attention" in shown and "1 of 2 run" in shown and "gone: worker" in shown
    for sentence in ("there is no ledger at", "the bus at redis://127.0.0.1:9/0 is away", "the edge at", "worker not"):
        assert sentence in " ".join(told["warnings"])
        assert f"! {sentence}" in shown


def test_what_wants_attention_is_said(home_ledger: Ledger, tmp_path: Path, redis_url: str) -> None:
    """A failing and a silent stream, a replica with an error, a full queue: each is a warning that names it."""
    key = StreamKey("binance", "ETH/USDT", "1m")
    for each, origin in ((BTC, Origin.EXCHANGE), (key, Origin.SYNTHETIC)):
        home_ledger.streams.register(each, origin)
        with home_ledger.leases.hold(f"stream:{each}", "test", 60_000) as held:
            home_ledger.bars.append(held.lease, each, candles(5), "test")
    home_ledger.failures.note("binance:DOGE/USD:1m", "unknown_symbol", "symbol 'DOGE/USD' is not traded")
    home_ledger.failures.note(str(key), "exchange_unavailable", "no answer")
    home_ledger.failures.over([str(key)])
    home_ledger.replicas.beat("predictor-1", "predictor", FAMILY, None, "the bundle is damaged")
    told = status(settings(tmp_path, redis_url))
    home_ledger.close()

    said = told["warnings"]
    starts = (
        "no keeper leads",
        "binance:BTC/USDT:1m: no bar since 2024-03-01T00:04",
        "binance:DOGE",
        "predictor-1: the",
    )
    assert [said[at].startswith(start) for at, start in enumerate(starts)] == [True] * len(said)
    assert "binance:DOGE/USD:1m failed 1x since" in said[2] and "is not traded" in said[2]
    lags = {row["stream"]: row["lag_ms"] for row in told["streams"]}
    assert lags[str(BTC)] > 0 and lags[str(key)] is None
    shown = screen(told, 100, 40)
    assert "exchange_unavailable (over)" in shown and "4 things want attention" in shown
    assert told["streams"][0]["last_bar"] == "2024-03-01T00:04:00Z"


def test_runs_that_nobody_could_take_up_are_said(home_ledger: Ledger, tmp_path: Path, redis_url: str) -> None:
    """While a run is queued and no trainer lives; a trainer that lives may well be busy with another."""
    home_ledger.runs.start_or_join("hmm", "hmm", "test")
    alone = status(settings(tmp_path, redis_url))["warnings"]
    home_ledger.replicas.beat("trainer-1", "trainer", "", None, None)
    attended = status(settings(tmp_path, redis_url))["warnings"]
    home_ledger.close()

    assert [said for said in alone if said not in attended] == [
        "1 runs wait, and no trainer lives: `tidewheel serve trainer`, or `tidewheel up`"
    ]


def test_a_silent_predictor_is_told_with_its_time(
    home_ledger: Ledger, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told is how long it is silent, and not the limit."""
    home_ledger.replicas.beat("predictor-1", "predictor", FAMILY, None, None)
    home_ledger.close()
    beat = time.time()
    monkeypatch.setattr(time, "time_ns", lambda: int((beat + 96) * 1e9))
    (said,) = (each for each in status(settings(tmp_path, redis_url))["warnings"] if each.startswith("predictor-1"))
    assert re.match(r"predictor-1 has not been heard of for 9[567] s", said), said


def test_a_fleet_that_was_killed_is_one_warning(
    home_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9 of `up` nothing runs: that is said once, and the broker that ran with it is not missed."""
    (tmp_path / "run").mkdir()
    rows = [{"name": name, "pid": 2**22 + 1, "created": 0.0, "port": 9} for name in ("valkey", "edge", "keeper")]
    monkeypatch.delenv("REDIS_URL", raising=False)
    about = {"pid": 1, "address": "http://127.0.0.1:9", "flower": "", "processes": rows}
    (tmp_path / "run/fleet.json").write_text(json.dumps(about))
    told = status(load(KeeperSettings, tidewheel_home=tmp_path))
    home_ledger.close()

    assert [each.partition(":")[0] for each in told["warnings"]] == [
        "the fleet of this home was killed",
        "no keeper leads, so nothing is scheduled or sent again",
    ]
    assert "Queues: the broker runs with the fleet" in screen(told, 80, 24)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 40), (20, 5), (300, 90)])
@pytest.mark.parametrize(("warnings", "streams", "runs"), [(0, 0, 0), (0, 3, 5), (30, 60, 5), (9, 1, 5), (1, 60, 0)])
def test_one_screen(columns: int, lines: int, warnings: int, streams: int, runs: int) -> None:
    """It fits 80 by 24, uses up to 100 by 40, and counts what it leaves out."""
    told = {
        "warnings": ["a long story " * 20] * warnings,
        "home": "/home/somebody/data",
        "address": "http://127.0.0.1:8000",
        "now": "2026-01-02T00:00:00Z",
        "processes": [{"process": "edge", "state": "running", "pss_mib": 80}] * 9,
        "keeper": "keeper-1",
        "streams": [
            {
                "stream": f"binance:COIN{at}/USDT:1m",
                "origin": "exchange",
                "last_bar": "2026-01-01T00:00:00Z",
                "lag_ms": 86_400_000,
                "open_gaps": 1,
                "confirmed_gaps": 12,
                "last_failure": {"code": "exchange_unavailable", "at": "", "over": True},
            }
            for at in range(streams)
        ],
        "claims": {"downloaded": 1_000, "processing": 20, "processed": 30_000, "poison": 5},
        "runs": [
            {
                "run": at,
                "family": "random_forest",
                "state": "refused",
                "created_at": "2026-01-01T00:00:00Z",
                "version": "v1",
                "reason": "why " * 40,
            }
            for at in range(runs)
        ],
        "champion": "v2026-01-01-12345678",
        "promoted_at": "2026-01-01T00:00:00Z",
        "data_as_of": "2026-01-01T00:00:00Z",
        "challenger": {"version": "v2026-01-02-12345678", "run": 12},
        "replicas": [{"loaded": "v2026-01-01-12345678", "late": False}] * 3,
        "queues": {"ingest": 0, "train": 1},
        "disk": [{"folder": "/data", "free_bytes": 10**9, "total_bytes": 10**10}],
    }
    shown = screen(told, columns, lines).splitlines()

    assert len(shown) <= max(24, min(40, lines))
    assert max(map(len, shown)) <= max(80, min(100, columns))
    assert any(line.startswith("Streams (") for line in shown) == (streams > 20)
    assert sum(line.startswith("! ") for line in shown) >= min(warnings, 3)
    assert any(line.startswith("Disk") for line in shown)


def test_a_disk_below_its_floor_is_said(home_ledger: Ledger, tmp_path: Path) -> None:
    """Well before the last byte, with the folder and what to do."""
    home_ledger.close()
    floor = {"disk_floor_mb": 10**9}

    told = status(settings(tmp_path).model_copy(update=floor))

    assert any(f"free on the disk of {tmp_path / 'ml'}" in each and "tidewheel gc" in each for each in told["warnings"])


def test_a_hand_on_current_is_said(home_ledger: Ledger, tmp_path: Path) -> None:
    """A link that was moved by hand and adopted, until somebody promotes; a folder in the link's place."""
    first, _ = published(home_ledger, 1), published(home_ledger, 2)
    home_ledger.versions.adopt(FAMILY, first)
    adopted = status(settings(tmp_path))
    home_ledger.versions.promote(FAMILY, first, "me", "it is meant")
    meant = status(settings(tmp_path))
    told = []
    for folder in (tmp_path / "models/current", tmp_path / "models/hmm/current"):
        folder.mkdir(parents=True)
        told.append(status(settings(tmp_path))["warnings"])
    home_ledger.close()

    assert adopted["set_by_hand"] and not meant["set_by_hand"]
    assert any(f"repointed by hand to {first}" in each for each in adopted["warnings"])
    assert not any("by hand" in each for each in meant["warnings"])
    for warnings, place in zip(told, ("models/current", "models/hmm/current"), strict=True):
        assert f"{tmp_path / place} is not a symbolic link; the keeper puts it aside, and the link back" in warnings
