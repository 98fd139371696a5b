"""What the doctor finds, and what it says to do."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from services.fleet.cli import main
from services.fleet.doctor import host, parts
from services.fleet.doctor.check import Check, Line, Patient, State, examined
from services.fleet.doctor.checks import CHECKS
from services.fleet.keeper.settings import KeeperSettings
from services.fleet.local.ports import free_ports
from services.fleet.prove.apparatus.beside import served
from services.fleet.simulator.app import sim_app
from tests.libs.market.sim.made import START, candles, told
from tidewheel.contracts.roles import PORTS
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import MINUTE
from tidewheel.kit.settings import load
from tidewheel.ledger.open import migrate
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import SimulatedExchange

SECRET = "a-very-secret-thing"


def patient(home: Path, **settings: Any) -> Patient:
    return Patient(load(KeeperSettings, tidewheel_home=home, **settings), {})


def looked(look: Any, who: Patient) -> list[Line]:
    return examined(who, (Check(name="it", waits_for="it", look=look),), 60)


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without .env."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def market() -> Iterator[str]:
    """Address of a simulated exchange that trades BTC/USDT only."""
    series = told(("BTC/USDT", "1m", candles(50)))
    with served(sim_app(SimulatedExchange(series, VirtualClock(START + 50 * MINUTE)))) as url:
        yield url


def test_a_healthy_patient(
    tmp_path: Path, market: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ledger, broker and exchange at hand no line fails, exit status 0, and no secret is told."""
    migrate(str(tmp_path / "home/ml/manifest.sqlite"), tmp_path / "home/ml")
    for name, value in {
        "TIDEWHEEL_HOME": str(tmp_path / "home"),
        "REDIS_URL": redis_url,
        "EXCHANGE_URL": market,
        "SYMBOLS": "btcusdt",
        "EXCHANGE_API_KEY": SECRET,
        "EXCHANGE_API_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    for role, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
        monkeypatch.setitem(PORTS, role, port)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--seconds", "120"])
    shown = capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["doctor", "--seconds", "120", "--json"])
    lines = json.loads(capsys.readouterr().out)

    assert ended.value.code in (0, None), shown.out
    assert {line["check"] for line in lines} >= {
        "python",
        "libraries",
        "open files",
        "data",
        "ports",
        "ledger",
        "model",
    }
    assert "BTC/USDT at 1m; 1000 bars a request" in shown.out
    assert "simulated, with a clock of its own" in shown.out and "sqlite, revision" in shown.out
    assert SECRET not in shown.out + shown.err + json.dumps(lines)


def test_a_check_that_hangs_says_what_it_waited_for(tmp_path: Path) -> None:
    """An exchange that takes the connection and never answers is one failed line; the others are told."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        who = patient(tmp_path, exchange_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        slow = next(check for check in CHECKS if check.name == "exchange")
        started = time.monotonic()
        lines = examined(who, (slow, Check(name="ports", waits_for="", look=lambda _: [])), 1.0)

    assert [(line.check, line.state) for line in lines] == [("exchange", State.FAIL)]
    assert "no answer within 1 s; it waited for the exchange" in lines[0].told and lines[0].remedy
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("ahead", "state", "word"), [(0.0, State.OK, "within"), (8.0, State.WARN, "behind"), (-900.0, State.FAIL, "ahead")]
)
def test_clock_skew(ahead: float, state: State, word: str, tmp_path: Path) -> None:
    """The exchange's clock is compared with ours, in the right direction; the symbol that it lacks is named."""
    now = VirtualClock(int((time.time() + ahead) * 1_000), 1.0)
    with served(sim_app(SimulatedExchange(told(("BTC/USDT", "1m", candles(50)), origin=Origin.EXCHANGE), now))) as url:
        who = patient(tmp_path, exchange_url=url, symbols=("BTC/USDT", "BTC/USDD"))
        clock, missing, known = looked(parts.exchange, who)

    assert (clock.check, clock.state) == ("clock", state) and word in clock.told
    assert (missing.state, known.state) == (State.FAIL, State.OK)
    assert "BTC/USDD" in missing.told and "did you mean BTC/USDT" in missing.remedy


def test_ledger(tmp_path: Path) -> None:
    """None yet is well; another purpose, a broken promise and a missing key are told with their remedy."""
    who = patient(tmp_path, auth_mode="keys")
    (fresh,) = looked(parts.ledger, who)
    migrate(who.settings.ledger_db, who.settings.data_dir)
    well, keyless = looked(parts.ledger, who)
    (other,) = looked(parts.ledger, patient(tmp_path, ledger_purpose="research"))
    engine = create_engine(who.settings.ledger_db)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO streams (key, origin, watermark, created_at) VALUES ('a:b/c:1m', 'replay', 60000, 1)")
        )
    engine.dispose()
    broken = looked(parts.ledger, who)[1]

    assert (fresh.state, well.state) == (State.OK, State.OK) and "sqlite" in well.told
    assert keyless.state is State.WARN and "keys create" in keyless.remedy
    assert (
        other.state is State.FAIL and "is for production" in other.told and "TIDEWHEEL_LEDGER_PURPOSE" in other.remedy
    )
    assert broken.state is State.FAIL and "watermark of a:b/c:1m" in broken.told and "fsck" in broken.remedy


def test_broker(tmp_path: Path, redis_server: str) -> None:
    """Away is a failure; one that may drop messages to save memory is a warning."""
    import redis

    (away,) = looked(parts.broker, patient(tmp_path, redis_url="redis://:sesame@127.0.0.1:9/0"))
    with redis.Redis.from_url(redis_server) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        (lossy,) = looked(parts.broker, patient(tmp_path, redis_url=redis_server))
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")
        (well,) = looked(parts.broker, patient(tmp_path, redis_url=redis_server))

    assert (away.state, lossy.state, well.state) == (State.FAIL, State.WARN, State.OK)
    assert "REDIS_URL" in away.remedy and "sesame" not in away.told
    assert "allkeys-lru drops messages" in lossy.told


def test_disk_and_model(tmp_path: Path) -> None:
    """A folder that is none, and a damaged bundle, are failures; nothing is left of the trial write."""
    (tmp_path / "file").write_text("not a folder")
    wrong, fine = looked(host.disk, patient(tmp_path, data_dir=tmp_path / "file/ml", models_dir=tmp_path / "models"))
    (none,) = looked(parts.models, patient(tmp_path))
    bundle = tmp_path / "models/hmm/v2024-03-01-0a1b2c3d"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{")
    (tmp_path / "models/hmm/current").symlink_to(bundle.name)
    (damaged,) = looked(parts.models, patient(tmp_path))
    shutil.rmtree(tmp_path / "models")

    assert (wrong.state, fine.state) == (State.FAIL, State.OK)
    assert str(tmp_path / "file") in wrong.told
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert none.state is State.OK
    assert damaged.state is State.FAIL and "rollback" in damaged.remedy


def test_room_is_held_against_the_floor(tmp_path: Path) -> None:
    """Below TIDEWHEEL_DISK_FLOOR_MB a failure, below three times as much a warning, with the setting's name."""
    free = shutil.disk_usage(tmp_path).free // 2**20
    found = {floor: looked(host.disk, patient(tmp_path, disk_floor_mb=floor)) for floor in (0, free // 2, 2 * free)}

    assert [{line.state for line in lines} for lines in found.values()] == [{State.OK}, {State.WARN}, {State.FAIL}]
    assert f"below {free // 2} MiB ingestion and training stop" in found[free // 2][0].told
    assert "TIDEWHEEL_DISK_FLOOR_MB" in found[2 * free][0].told


def test_settings_keys_and_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable, an .env that others may read, half a key and a taken port: each with its remedy."""
    monkeypatch.setenv("TIDEWHEEL_KEEP_REFUSE", "3")
    (odd, *_) = looked(parts.settings, patient(tmp_path))
    monkeypatch.delenv("TIDEWHEEL_KEEP_REFUSE")
    monkeypatch.setenv("INGEST_CRON", "61 * * * *")
    broken = looked(parts.settings, Patient(KeeperSettings.model_construct(auth_mode="dev"), {}))
    monkeypatch.delenv("INGEST_CRON")
    (half,) = looked(parts.keys, patient(tmp_path, exchange_api_key=SECRET))
    (tmp_path / ".env").write_text(f"EXCHANGE_API_KEY={SECRET}\nEXCHANGE_API_SECRET={SECRET}\n")
    (tmp_path / ".env").chmod(0o644)
    (readable,) = looked(parts.keys, patient(tmp_path))
    (tmp_path / ".env").chmod(0o600)
    (private,) = looked(parts.keys, patient(tmp_path))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setitem(PORTS, next(iter(PORTS)), other.getsockname()[1])
        (taken,) = looked(host.ports, patient(tmp_path))

    assert odd.state is State.WARN and odd.remedy == "did you mean TIDEWHEEL_KEEP_REFUSED?"
    assert broken[0].state is State.FAIL and "INGEST_CRON=61 * * * *" in broken[0].told
    assert half.state is State.FAIL and "EXCHANGE_API_SECRET is not set" in half.told
    assert (readable.state, readable.remedy, private.state) == (State.WARN, "chmod 600 .env", State.OK)
    assert SECRET not in repr((half, readable, private))
    assert taken.state is State.FAIL and "--port-base" in taken.remedy


def test_libraries_beside_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version other than the locked one is a warning that names both."""
    lock = tmp_path / "requirements.lock"
    lock.write_text("click==0.0.1\ncolorama==0.4.6 ; sys_platform == 'win32'\n")
    monkeypatch.setattr(host, "_LOCK", lock)
    _, libraries = looked(host.python, patient(tmp_path))

    assert libraries.state is State.WARN and "(lock 0.0.1)" in libraries.told and "colorama" not in libraries.told
