"""Poisoned market data, from the exchange to the doors of training (R10)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.libs.market.sim.made import START, candles, told
from tests.libs.market.test_screen import REASONS
from tests.services.ingester.asked import role
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import MINUTE, iso
from tidewheel.ledger.open import Ledger
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import SimulatedExchange
from tidewheel.market.sim.faults import BAD_ROWS

BARS, AT = 60, 30
KINDS = list(BAD_ROWS)


class Poisoned(SimulatedExchange):
    """Each pair always shows its bar AT in another of the ways in which a bar cannot be."""

    def __init__(self) -> None:
        series = [(f"P{number}/USDT", "1m", candles(BARS)) for number in range(len(KINDS))]
        super().__init__(told(*series), VirtualClock(START + BARS * MINUTE))

    def klines(self, *args: Any, **kwargs: Any) -> list[list[Any]]:
        """As the exchange's, with the bar spoilt."""
        spoil = BAD_ROWS[KINDS[self.symbols.index(args[1].replace("USDT", "/USDT"))]]
        rows = super().klines(*args, **kwargs)
        return [row for each in rows for row in (spoil(each) if each[0] == START + AT * MINUTE else [each])]


def ingest(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> dict[str, StreamKey]:
    """One ingestion of all of them; kind -> its stream."""
    engine = Poisoned()
    with role(engine, ledger_dsn, data_dir, symbols=engine.symbols) as client:
        assert client.post("/ingest_once", params={"until": "now"}).status_code == 200
    return {kind: StreamKey("binance", symbol, "1m") for kind, symbol in zip(KINDS, engine.symbols, strict=True)}


def trained_on(ledger: Ledger) -> dict[str, list[tuple[float, ...]]]:
    """What a run of the trainer is handed: the bars of every file that it can claim, by stream."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    held = ledger.runs.lease(run.id, "trainer", 60_000)
    assert held is not None
    rows: dict[str, list[tuple[float, ...]]] = {}
    with held:
        for file in held.claim_files(timeframe="1m"):
            rows.setdefault(str(file.key), []).extend(ledger.bars.as_sealed(file).rows())
    return rows


def test_no_kind_of_poison_is_trained_and_the_good_bars_around_it_are(
    ledger: Ledger, ledger_dsn: str, data_dir: Path
) -> None:
    """Thirteen kinds, each left out with its reason in the gap's evidence; the other bars come as they are."""
    streams = ingest(ledger, ledger_dsn, data_dir)

    reasons = {kind: [gap.evidence.get("refused") for gap in ledger.bars.gaps(key)] for kind, key in streams.items()}
    # An unaligned row is none of the grid's bars: it is refused under its own time, and its bar is just missing.
    told_at = {kind: iso(START + AT * MINUTE) for kind in KINDS if kind != "unaligned"}
    assert {kind: reasons[kind] for kind in told_at} == {kind: [{at: REASONS[kind]}] for kind, at in told_at.items()}
    assert len(reasons["unaligned"]) == 1
    good = candles(BARS, missing=(AT,)).rows()
    assert trained_on(ledger) == {str(key): good for key in streams.values()}


def test_the_test_sees_a_screen_that_is_switched_off(
    ledger: Ledger, ledger_dsn: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: outliers, which only the screen can tell, are let through and reach training."""
    monkeypatch.setattr("tidewheel.market.screen.outliers", lambda frame: np.zeros(len(frame), dtype=bool))
    streams = ingest(ledger, ledger_dsn, data_dir)

    seen = trained_on(ledger)
    through = {kind for kind, key in streams.items() if len(seen[str(key)]) == BARS}
    assert through == {"outlier", "outlying wick", "tiny"}
