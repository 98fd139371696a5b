"""`tidewheel bandit` as an operator meets it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from services.fleet.commands.bandit import bandit
from tests.services.param_controller.asked import SCHEMA
from tests.services.param_controller.desk import BTC, Desk
from tidewheel.contracts.errors import NotFound
from tidewheel.ledger.open import Ledger, migrate, open_ledger

PAIR = (BTC.strategy, BTC.instrument)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A home in which a pair has traded 30 times."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "breakout.yaml").write_text(SCHEMA)
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv("TIDEWHEEL_SCHEMAS_DIR", str(tmp_path / "schemas"))
    address = str(tmp_path / "ml" / "manifest.sqlite")
    migrate(address, tmp_path / "ml")
    ledger = open_ledger(address, tmp_path / "ml")
    Desk(ledger).open().trade(30)
    yield ledger
    ledger.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(bandit, arguments, catch_exceptions=False)


def damage(ledger: Ledger, statement: str) -> None:
    with ledger._db.write() as connection:
        connection.exec_driver_sql(statement)


def test_rebuild_finds_what_differs_and_mends_it(desk: Ledger) -> None:
    """--check is 0 while stored and log agree, 1 when they do not; without it the log is stored, with a reason."""
    assert run("rebuild", "--check").exit_code == 0
    damage(desk, "UPDATE outcomes SET learnt_reward = learnt_reward + 0.001 WHERE seq = 7")
    checked = run("rebuild", "--check", *PAIR, "--json")
    (row,) = json.loads(checked.stdout)
    assert checked.exit_code == 1 and not row["same"] and row["difference"] > 1e-9

    mended = run("rebuild", *PAIR, "--reason", "restored from a backup", "--json")
    assert mended.exit_code == 0 and json.loads(mended.stdout)[0]["outcomes"] == 30
    assert desk.audit.list(1)[0].reason == "restored from a backup"
    assert json.loads(run("rebuild", "--check", "--json").stdout) == [
        {"pair": "breakout/BTC/USDT", "same": True, "difference": 0.0}
    ]
    damage(desk, "DELETE FROM posteriors")
    lost = run("rebuild", "--check", "--json")
    assert lost.exit_code == 1 and json.loads(lost.stdout)[0]["difference"] is None
    assert run("rebuild", "breakout").exit_code == 2


def test_replay_ends_with_one_where_a_decision_does_not_follow(desk: Ledger) -> None:
    """Each difference is named with what the log says and what follows."""
    assert "30 decisions follow from the log, 0 do not, 0 are missing" in run("replay", *PAIR).stdout
    assert json.loads(run("replay", *PAIR, "--limit", "4", "--json").stdout)["same"] == 4

    damage(desk, "UPDATE decisions SET reason = 'daily_limit' WHERE number = 9")
    found = run("replay", *PAIR)
    assert found.exit_code == 1 and "(daily_limit, propensity" in found.stdout
    assert json.loads(run("replay", *PAIR, "--json").stdout)["differences"][0]["number"] == 9


def test_evaluate_tells_a_number_or_why_not(desk: Ledger) -> None:
    """A supported target has four rows; one without support a sentence; no target is a usage error."""
    shown = run("evaluate", *PAIR, "--preset", "fast").stdout
    assert "always fast" in shown and "doubly robust" in shown and "more than was earned" in shown
    uniform = json.loads(run("evaluate", *PAIR, "--policy", "epsilon_greedy", "--epsilon", "1", "--json").stdout)
    assert uniform["target"] == "epsilon_greedy, exploration 1, epsilon 1" and uniform["rows"] == 30

    desk.presets.register(BTC, "calm", {"lookback": 200, "stop": 2.0}, "desk")
    assert "The log does not tell: in no row" in run("evaluate", *PAIR, "--preset", "calm").stdout
    assert run("evaluate", *PAIR).exit_code == 2
    assert run("evaluate", *PAIR, "--preset", "No Preset").exit_code == 2
    assert run("evaluate", *PAIR, "--exploration", "nan").exit_code == 2
    with pytest.raises(NotFound):
        run("evaluate", "breakout", "ETH/USDT", "--preset", "fast")


def test_report_is_a_table_json_and_a_page(desk: Ledger, tmp_path: Path) -> None:
    """The same report in three forms; a kill switch is told in each."""
    desk.switches.trip(BTC, "desk", "to see", "hand")
    page = tmp_path / "report.html"
    shown = run("report", *PAIR, "--html", str(page)).stdout
    told = json.loads(run("report", *PAIR, "--limit", "10", "--json").stdout)

    assert "30 of 30 decisions" in shown and "Regret" in shown and "Frozen" in shown
    assert told["window"]["decisions"] == 10 and told["kill_switches"][0]["reason"] == "to see"
    assert page.read_text().startswith("<!DOCTYPE html>") and "Frozen" in page.read_text()
