"""What BounceHunter makes of a real share: GOOG's days of 2004 to 2013, from the file to signals."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.fleet.cli import main
from tests.tickers import stock
from tidewheel.bounce.backtest import BacktestTerms
from tidewheel.bounce.backtesting import backtest_of
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import NotEnoughData
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, iso, parse_time
from tidewheel.ledger.open import Ledger, migrate, open_ledger
from tidewheel.public.bouncehunter import BounceHunter

CONFIG = BounceHunterConfig.of(["GOOG"])
SESSIONS = 2_148


@pytest.fixture
def imported(
    candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Ledger]:
    """The ledger of a home into which GOOG.csv was imported as a user does it."""
    home = tmp_path / "home"
    monkeypatch.setenv("TIDEWHEEL_HOME", str(home))
    migrate(str(home / "ml/manifest.sqlite"), home / "ml")
    how = ("--symbol", "GOOG", "--timeframe", "1d", "--utc", "--offline", "--json")
    with pytest.raises(SystemExit) as ended:
        main(["import", str(candles / "GOOG.csv"), *how])
    assert ended.value.code in (0, None)
    told = json.loads(capsys.readouterr().out)
    assert (told["stream"], told["origin"], told["open_gaps"]) == ("stocks:GOOG:1d", "import", 0)
    assert told["files"][0]["new"] == SESSIONS
    ledger = open_ledger(str(home / "ml/manifest.sqlite"), home / "ml")
    yield ledger
    ledger.close()


def test_goog_has_dips_and_no_edge(imported: Ledger, tmp_path: Path, report: Callable[[str], None]) -> None:
    """Its dips are told apart no better than by the base rate, so no dip of eight years is a signal; and it says so."""
    scanner = BounceHunter(CONFIG, cache_dir=tmp_path / "cache", bars=DailyBars(imported))
    fitted, found = scanner.fit(), scanner.scan()
    metrics = fitted.metrics
    assert (fitted.training_samples, metrics["n"]) == (91, 61)
    assert 0.3 < metrics["auc"] < 0.6 and metrics["brier"] > metrics["brier_of_base_rate"]
    assert (iso(found.session)[:10], found.signals, dict(found.left_out)) == ("2013-03-01", (), {})
    again = BounceHunter(CONFIG, cache_dir=tmp_path / "cache", bars=DailyBars(imported))
    assert again.fit() == fitted
    report(
        f"GOOG: {fitted.training_samples} dips; forward on {metrics['n']}: AUC {metrics['auc']:.2f}, Brier "
        f"{metrics['brier']:.4f} against {metrics['brier_of_base_rate']:.4f} of the base rate"
    )


def test_goog_as_of_a_day_is_the_ledger_of_that_day(
    imported: Ledger, ledger: Ledger, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """The model of the end of 2011 is, byte for byte but for its day, that of a ledger which ends there."""
    day = parse_time("2011-12-30")
    whole = imported.bars.read(DailyBars(imported).streams(["GOOG"])["GOOG"].key)
    stock(ledger, {"GOOG": whole.between(None, day + DAY)}, origin=Origin.IMPORT)
    then = replace(CONFIG, as_of=day + DAY)
    told = [
        BounceHunter(then, cache_dir=tmp_path / f"{name}", bars=DailyBars(each))
        for name, each in (("later", imported), ("then", ledger))
    ]
    fitted, found = [each.fit() for each in told], [each.scan() for each in told]
    assert fitted[0].training_samples == fitted[1].training_samples < 91
    assert fitted[0].model_hash == fitted[1].model_hash
    assert found[0] == found[1] and iso(found[0].session)[:10] == "2011-12-30"
    early = replace(CONFIG, as_of=parse_time("2007-01-01"))
    with pytest.raises(NotEnoughData, match="10 dips are known, of which 4 bounced; a fit takes 30 more"):
        BounceHunter(early, cache_dir=tmp_path / "early", bars=DailyBars(imported)).fit()
    report(f"GOOG as of 2011-12-30: {fitted[0].training_samples} dips, {len(found[0].signals)} signals")


def test_goog_is_not_traded_without_an_edge(imported: Ledger, report: Callable[[str], None]) -> None:
    """No dip reaches the threshold; what buying each of them would have come to is told."""
    terms = BacktestTerms(start=parse_time("2009-01-02"), end=parse_time("2013-03-01"))
    anyway = replace(CONFIG, bcs_threshold=0.0, bcs_threshold_highvix=0.0)
    for name, config in (("signals", CONFIG), ("every dip", anyway)):
        told = backtest_of(DailyBars(imported), config, terms)
        metrics = told.document["metrics"]
        assert (told.tickers, dict(told.left_out), told.origin) == (("GOOG",), {}, Origin.IMPORT)
        assert str(told.document["picture"]).startswith("<svg")
        assert metrics["trades"] == 0 if config is CONFIG else metrics["trades"] > 10
        report(
            f"GOOG, {name} of 2009 to 2013: {metrics['trades']} trades of {metrics['dips']} dips, "
            f"{metrics['total_return']:+.2%} after {metrics['costs']:,.0f} of costs; held: "
            f"{metrics['buy_and_hold']['total_return']:+.1%}"
        )
