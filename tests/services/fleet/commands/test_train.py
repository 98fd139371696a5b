"""`tidewheel train registry` as an operator meets it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from services.fleet.commands.train import train
from tests.services.ml_trainer.hourly import HOURLY, kinked
from tidewheel.contracts.errors import BadInput, Conflict, NotEnoughData, NotFound
from tidewheel.contracts.keys import StreamKey, registry_consumer
from tidewheel.contracts.states import Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger, migrate, open_ledger


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The ledger of a home of its own, which the command is pointed at."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path))
    address, data = str(tmp_path / "ml" / "manifest.sqlite"), tmp_path / "ml"
    migrate(address, data)
    opened = open_ledger(f"sqlite:///{address}", data)
    yield opened
    opened.close()


def stored(ledger: Ledger, frame: CandleFrame, key: StreamKey = HOURLY) -> None:
    ledger.streams.register(key, Origin.IMPORT)
    with ledger.leases.hold(f"stream:{key}", "test", 30_000) as held:
        ledger.bars.append(held.lease, key, frame, "test")


def registry(*options: str) -> Result:
    return CliRunner().invoke(train, ["registry", *options], catch_exceptions=False)


def test_it_trains_here_and_tells_what_came_of_it(ledger: Ledger) -> None:
    """In words and in JSON: version, horizons, verdict, whether the alias moved; on the same stream by default."""
    stored(ledger, kinked())

    first = registry()
    again = json.loads((told := registry("--json")).stdout)

    baseline = ledger.registry.get("baseline")
    assert baseline is not None and (first.exit_code, told.exit_code) == (0, 0)
    assert first.stdout.startswith(f"baseline {baseline.version}: horizons 1, 3 h, data of {HOURLY} until 2023-12-02T")
    assert "\nVerdict: forecast_champion: the baseline need not beat anybody" in first.stdout
    assert first.stdout.endswith("It is the champion now: GET /predict/baseline/1 asks it.\n")
    assert (again["state"], again["moved"], again["stream"]) == ("skipped", False, str(HOURLY))
    assert again["reason"].startswith(f"no_new_data: baseline {baseline.version} was made of these very hours")
    assert (again["champion"], again["version"]) == (baseline.version, None)


def test_what_cannot_be_trained_is_one_sentence(ledger: Ledger) -> None:
    """A model without a trainer, no stream at all, one that is not there, bars that make up no hours, too few hours."""
    with pytest.raises(BadInput, match="no trainer of ours makes a model 'lstm_x'; those are baseline and random_"):
        registry("--model", "lstm_x")
    with pytest.raises(NotEnoughData, match="no stream of the ledger has bars that make up hours"):
        registry()
    four = StreamKey("binance", "BTC/USDT", "4h")
    ledger.streams.register(four, Origin.IMPORT)
    stored(ledger, kinked(300))
    with pytest.raises(NotFound, match=f"stream binance:ETH/USDT:1h is not in the ledger; known are: {HOURLY}"):
        registry("--stream", "binance:ETH/USDT:1h")
    with pytest.raises(BadInput, match="bars of 240 minutes do not make up hours"):
        registry("--stream", str(four))

    few = registry()

    assert few.exit_code == 1
    assert few.stdout == (
        f"Run 1 of baseline skipped: not_enough_data: {HOURLY} has 300 complete hours, 345 unbroken ones are needed: "
        "45 more; ingest or backfill them\n"
    )
    ledger.runs.start_or_join(registry_consumer("baseline"), "baseline", "test", params={"stream": str(four)})
    with pytest.raises(Conflict, match="run 2 trains baseline on binance:BTC/USDT:4h just now"):
        registry()
