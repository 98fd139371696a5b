"""What `up` decides before anything runs, and the simulated exchange's clock."""

import os
import sys
from pathlib import Path

import pytest

from services.fleet.local.fleet import POSTGRES, VALKEY, Fleet, Plan, answers
from services.fleet.local.ports import free_ports
from services.fleet.local.processes import Command
from services.fleet.local.supervisor import Supervisor
from services.fleet.local.up import plan_of, resume_clock, save_clock
from services.fleet.simulator.clock import clock, turn_clock
from tidewheel.contracts.errors import BadSetting
from tidewheel.contracts.roles import Role
from tidewheel.kit.settings import Settings, load


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without .env, and an environment without our variables."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "REDIS_URL",
        "LEDGER_DB",
        "DB_URL",
        "AUTH_MODE",
        "BIND",
        "TIDEWHEEL_LISTEN",
        "DATA_DIR",
        "SYMBOLS",
        "SYMBOL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path / "home"))
    return tmp_path


def test_up_brings_its_own_servers_unless_others_are_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valkey is embedded unless REDIS_URL is set, here in .env; AUTH_MODE is dev unless the user chose one."""
    plan = plan_of(load(Settings), simulate=False, with_postgres=False, port_base=None)
    assert VALKEY in plan.ports
    assert POSTGRES not in plan.ports
    assert plan.settings == {"AUTH_MODE": "dev", "SYMBOLS": "BTC/USDT,ETH/USDT"}
    assert plan.url(Role.EDGE) == "http://127.0.0.1:8000"

    (bare / ".env").write_text(
        "REDIS_URL=redis://elsewhere:6379/1\nAUTH_MODE=keys\nFLOWER_BASIC_AUTH=a:b\nBIND=0.0.0.0\nSYMBOL=solusdt\n"
    )
    plan = plan_of(load(Settings), simulate=False, with_postgres=True, port_base=9000)
    assert VALKEY not in plan.ports
    assert POSTGRES in plan.ports
    assert plan.broker == "redis://elsewhere:6379/1"
    assert plan.settings == {}
    assert plan.url(Role.EDGE) == "http://127.0.0.1:9000"
    assert (plan.ports[Role.PREDICTOR], plan.ports[Role.FLOWER]) == (9004, 9009)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEWHEEL_LISTEN", "0.0.0.0"),
        ("BIND", "192.0.2.1"),
        ("INGEST_CRON", "61 * * * *"),
        ("TRAIN_SEED", "-1"),
        ("FLOWER_BASIC_AUTH", "nocolon"),
    ],
)
def test_what_a_role_would_refuse_is_refused_first(
    bare: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Nothing is started for a setting that a role cannot use, nor to serve open routes beyond this machine."""
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting, match=name):
        plan_of(load(Settings), simulate=False, with_postgres=False, port_base=None)


def test_a_simulated_fleet_has_a_home_of_its_own(bare: Path) -> None:
    """Synthetic candles never meet those of a real exchange."""
    plan = plan_of(load(Settings), simulate=True, with_postgres=False, port_base=None)
    assert plan.home == bare / "home" / "sim"
    assert Role.EXCHANGE_SIM in plan.ports
    assert Fleet(plan, Supervisor(plan.home, print)).plan is plan


def test_a_simulated_home_is_taken_as_it_was_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` tells people to set TIDEWHEEL_HOME to the simulated fleet's home; the next `up --sim` goes on there."""
    home = bare / "home" / "sim"
    (home / "run").mkdir(parents=True)
    (home / "run/sim-clock.json").write_text('{"now": 1736553600000}')
    monkeypatch.setenv("TIDEWHEEL_HOME", str(home))
    assert plan_of(load(Settings), simulate=True, with_postgres=False, port_base=None).home == home
    monkeypatch.setenv("TIDEWHEEL_HOME", str(bare / "home"))
    assert plan_of(load(Settings), simulate=True, with_postgres=False, port_base=None).home == home


def test_the_simulated_clock_goes_on_where_it_stood(bare: Path) -> None:
    """A new simulator begins at its first phase; `up` moves it to where the last one was."""
    plan = Plan(
        home=bare,
        cwd=bare,
        host="127.0.0.1",
        ports={Role.EXCHANGE_SIM: free_ports(1)[0]},
        environment={"PATH": os.environ["PATH"]},
    )
    url = plan.url(Role.EXCHANGE_SIM)
    simulator = Command(
        name="exchange-sim",
        argv=(
            *(sys.executable, "-m", "services.fleet.cli", "serve", "exchange-sim"),
            *("--port", str(plan.ports[Role.EXCHANGE_SIM])),
        ),
        env=plan.environment,
        cwd=bare,
        ready=lambda: answers(f"{url}/_sim/clock"),
    )
    said: list[str] = []
    with Supervisor(bare, print) as supervisor:
        supervisor.start([simulator])
        resume_clock(plan, said.append)
        assert said == []
        first = turn_clock(url, advance_ms=86_400_000)["now"]
        save_clock(plan)
    with Supervisor(bare, print) as supervisor:
        supervisor.start([simulator])
        assert clock(url)["now"] == first - 86_400_000
        resume_clock(plan, said.append)
        assert clock(url)["now"] == first
    assert said[0].startswith("the simulated exchange goes on at 2025-01-12")
