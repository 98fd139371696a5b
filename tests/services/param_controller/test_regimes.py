"""The regime that the controller fills in by itself."""

import numpy as np
import pytest

from services.param_controller.service.regimes import CurrentRegimes
from tests.libs.models.worlds import START, candles
from tests.libs.modelstore.regimes import returns
from tests.services.param_controller.conftest import Api
from tests.waiting import until
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import MINUTE, STALE_BARS
from tidewheel.ledger.open import Ledger

BTC = StreamKey.parse("sim:BTC/USDT:1m")
PROBS = {"bull": 0.7, "bear": 0.1, "chop": 0.2}
BARS = 40


def seen(ledger: Ledger, key: StreamKey, behind: int = 0, origin: Origin = Origin.SYNTHETIC, **probs: float) -> None:
    """A stream with bars, and its regime as of a bar that is so many bars behind the newest."""
    frame = candles(np.array(returns(BARS - 1, 1)), start=-(-START // key.step) * key.step, step=key.step)
    ledger.streams.register(key, origin)
    with ledger.leases.hold(f"stream:{key}", "test", 30_000) as held:
        ledger.bars.append(held.lease, key, frame, "test")
    ledger.regimes.upsert(key, int(frame.open_time[-1]) - behind * key.step, PROBS | probs, "bull", "v1")


def test_a_decision_takes_the_regime_and_marks_it(api: Api, ledger: Ledger) -> None:
    """Where the request is silent the stream of that symbol tells, named with its time and model; what is told wins."""
    assert api.decide()["features_used"]["trend"]["source"] == "default"
    seen(ledger, BTC)
    told = api.decide("features[vol]=0.3&features[trend]=-0.5")["features_used"]["trend"]
    assert told == {"value": -0.5, "scaled": -0.5, "source": "request"}
    filled = until_filled(api)
    assert filled == {
        "value": pytest.approx(0.6),
        "scaled": pytest.approx(0.6),
        "source": "regime",
        "stream": "sim:BTC/USDT:1m",
        "data_time": START + (BARS - 1) * MINUTE,
        "model_version": "v1",
    }


def until_filled(api: Api) -> dict[str, object]:
    """The feature `trend` once the regime has been read anew, which it is each second."""
    found: list[dict[str, object]] = []

    def filled() -> bool:
        found.append(api.decide()["features_used"]["trend"])
        return found[-1]["source"] == "regime"

    until(filled)
    return found[-1]


@pytest.mark.parametrize("name", ["BTC/USDT", "btcusdt", "sim:BTC/USDT", "sim:BTC/USDT:1m", "BTC-USDT"])
def test_an_instrument_is_found_by_its_symbol(ledger: Ledger, name: str) -> None:
    """However the engine writes it."""
    seen(ledger, BTC)
    found = CurrentRegimes(ledger).of(name)
    assert found is not None and found.stream == str(BTC)


def test_stale_and_foreign_regimes_are_not_used(ledger: Ledger) -> None:
    """One that is behind its own exchange, or behind the clock where the exchange is real, is as good as none."""
    seen(ledger, BTC, behind=STALE_BARS)
    seen(ledger, StreamKey.parse("sim:ETH/USDT:1m"), behind=STALE_BARS + 1)
    seen(ledger, StreamKey.parse("sim:BTC/USDT:USDT:1m"), bull=0.3)
    seen(ledger, StreamKey.parse("binance:SOL/USDT:1m"), origin=Origin.REPLAY)
    regimes = CurrentRegimes(ledger)
    assert regimes.of("BTC/USDT") is not None
    assert regimes.of("ETH/USDT") is None and regimes.of("DOGE/USDT") is None
    swap, spot = regimes.of("BTC/USDT:USDT"), regimes.of("BTC/USDT")
    assert swap is not None and spot is not None and (swap.probs["bull"], spot.probs["bull"]) == (0.3, 0.7)
    assert regimes.of("SOL/USDT") is not None, "a replay has a clock of its own"


def test_a_real_exchange_keeps_our_clock(ledger: Ledger) -> None:
    """Its bars of long ago are stale, though it has no newer ones."""
    seen(ledger, BTC, origin=Origin.EXCHANGE)
    assert CurrentRegimes(ledger).of("BTC/USDT") is None


def test_the_freshest_of_several_streams_tells(ledger: Ledger) -> None:
    """Of one symbol on two timeframes and exchanges."""
    seen(ledger, BTC)
    seen(ledger, StreamKey.parse("other:BTC/USDT:5m"), bull=0.4)
    found = CurrentRegimes(ledger).of("BTC/USDT")
    assert found is not None and found.stream == "other:BTC/USDT:5m"  # 40 bars of 5 minutes end later
