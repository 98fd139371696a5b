"""`tidewheel backfill`: the order of POST /backfill, worked off without a fleet."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.fleet.cli import main
from services.fleet.commands import backfill as command
from services.fleet.prove.apparatus.beside import served
from services.fleet.simulator.app import sim_app
from tests.libs.market.sim.made import START, candles
from tests.services.ingester.asked import BTC, simulator
from tidewheel.contracts.times import MINUTE
from tidewheel.ledger.open import Ledger


def test_it_ends_when_the_history_is_stored_and_goes_on_where_it_failed(
    ledger: Ledger, ledger_dsn: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failing exchange is waited for, then told with exit status 1; the same command again brings the rest, once."""
    monkeypatch.setattr(command, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(command, "FRUITLESS", 1)
    engine = simulator(missing=(50,))

    def run(*options: str) -> tuple[object, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["backfill", "--json", *options])
        return ended.value.code, json.loads(capsys.readouterr().out)

    with served(sim_app(engine)) as url:
        settings = {"EXCHANGE_URL": url, "SYMBOLS": "BTC/USDT", "LEDGER_DB": ledger_dsn, "DATA_DIR": str(data_dir)}
        for name, value in (settings | {"START_TS": str(START), "TIDEWHEEL_HOME": str(data_dir)}).items():
            monkeypatch.setenv(name, value)
        until = ("--end", str(START + 300 * MINUTE))
        first = run(*until)
        before = engine.requests
        known = run(*until)
        asked_again = engine.requests - before
        wrong = run("--end", str(START))

    assert first == known
    assert (known[0] or 0, known[1][0]["state"], known[1][0]["fetched"]) == (0, "done", 299)
    assert asked_again < 6  # its markets and its time; no candles
    assert wrong[0] == 1 and "holds no bar" in wrong[1]["detail"]
    stored = ledger.bars.read(BTC)
    assert stored.rows() == candles(300, missing=(50,)).rows()
    code, away = run("--end", str(START + 400 * MINUTE))
    assert (code, away["code"]) == (1, "exchange_unavailable")
