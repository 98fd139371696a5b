"""The oracle of a rude exchange, and that it bites."""

from typing import Any

import pytest

from services.fleet.prove.exchange import ingest_rude, market, prove
from services.fleet.prove.ground import Ground
from services.fleet.prove.proof import Budget, Tell
from tidewheel.market import exchange
from tidewheel.market.screen import Screened

#: Old answers, and bars corrected late.
STALE: dict[str, Any] = {"faults": "repeat=0.4,revise=0.2,skew=90", "lived": 120, "stride": 30}


def test_what_is_stored_of_a_rude_exchange_is_its_truth(budget: Budget, tell: Tell) -> None:
    """Every bar that exists is stored with its latest values, no other bar is, and nobody knocks while banned."""
    tally = prove(budget, tell)

    assert (tally.violations, tally.first) == (0, None)
    assert tally.trials > 0.9 * budget.trials
    assert [figure.split(":")[0] for figure in tally.figures] == ["spot, sqlite", "futures, postgresql"]


def test_a_bar_that_was_open_in_an_old_answer_does_not_stay_so(ground: Ground) -> None:
    """Seed 11 once: an old answer ended in a bar that was open then, and was taken as closed half an hour later."""
    told = ingest_rude(market(500, 11), ground.fresh("sqlite"), 11, lived=250)

    assert told.violations == []


def test_the_oracle_sees_an_adapter_that_believes_an_old_answer(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: where an answer ends early, its end is believed by the clock alone."""
    honest = ingest_rude(market(160, 6), ground.fresh("sqlite"), 6, **STALE)
    monkeypatch.setattr(exchange.Exchange, "_ends_early", lambda *_: False)
    planted = ingest_rude(market(160, 6), ground.fresh("sqlite"), 6, **STALE)

    assert honest.violations == []
    assert any("have other values" in sentence for sentence in planted.violations)


def test_the_oracle_sees_an_adapter_that_believes_an_empty_page(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: what is missing from one answer is taken as not existing."""

    def credulous(self: Any, symbol: str, timeframe: str, since: int, limit: int, until: int | None) -> Screened:
        shown: Screened = self._asked(symbol, timeframe, since, limit)
        return shown

    monkeypatch.setattr(exchange.Exchange, "_shown", credulous)
    monkeypatch.setattr("services.ingester.service.writer.GAPS_AT_ONCE", 0)
    proof = ingest_rude(market(600), ground.fresh("sqlite"), seed=1, faults="short=0.3,drop=0.3", lived=300, stride=20)

    assert any("are missing" in sentence for sentence in proof.violations)


def test_the_oracle_sees_an_adapter_that_believes_an_open_candle(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the exchange's clock alone says which bars have closed, and known bars are not asked for again."""
    monkeypatch.setattr(exchange, "SETTLED", 0)
    monkeypatch.setenv("TIDEWHEEL_OVERLAP_BARS", "0")
    proof = ingest_rude(market(120), ground.fresh("sqlite"), seed=1, faults="skew=90", stride=4)

    assert any("have other values" in sentence for sentence in proof.violations)
