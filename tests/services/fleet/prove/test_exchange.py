"""The oracle of a rude exchange, and that it bites."""

from pathlib import Path
from typing import Any

import pytest

from services.fleet.prove.exchange import ingest_rude, market
from tidewheel.market import exchange
from tidewheel.market.screen import Screened

BARS = 1_500


def test_what_is_stored_of_a_rude_exchange_is_its_truth(tmp_path: Path) -> None:
    """Every bar that exists is stored with its latest values, no other bar is, and nobody knocks while banned."""
    proof = ingest_rude(market(BARS), tmp_path, seed=1)

    assert proof.violations == []
    assert proof.bars > 0.9 * BARS and proof.requests > 50


def test_the_oracle_sees_an_adapter_that_believes_an_empty_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: what is missing from one answer is taken as not existing."""

    def credulous(self: Any, symbol: str, timeframe: str, since: int, limit: int, until: int | None) -> Screened:
        shown: Screened = self._asked(symbol, timeframe, since, limit)
        return shown

    monkeypatch.setattr(exchange.Exchange, "_shown", credulous)
    monkeypatch.setattr("services.ingester.service.writer.GAPS_AT_ONCE", 0)
    proof = ingest_rude(market(600), tmp_path, seed=1, faults="short=0.3,drop=0.3", lived=300, stride=20)

    assert any("are missing" in sentence for sentence in proof.violations)


def test_the_oracle_sees_an_adapter_that_believes_an_open_candle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the exchange's clock alone says which bars have closed, and known bars are not asked for again."""
    monkeypatch.setattr(exchange, "SETTLED", 0)
    monkeypatch.setenv("TIDEWHEEL_OVERLAP_BARS", "0")
    proof = ingest_rude(market(120), tmp_path, seed=1, faults="skew=90", stride=4)

    assert any("have other values" in sentence for sentence in proof.violations)
