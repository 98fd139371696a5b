"""What the loop's pure parts make of real markets."""

from pathlib import Path

from tests.libs.gates.candidates import GATE, candidate
from tidewheel.contracts.times import MINUTE
from tidewheel.features.frames import CandleFrame
from tidewheel.features.returns import WINDOW
from tidewheel.market.sim.replay import replayed


def bars(folder: Path, *names: str) -> dict[str, CandleFrame]:
    """Candles of each file by symbol."""
    return {series.symbol: series.frame for series in replayed(tuple(str(folder / name) for name in names)).series}


def test_two_real_streams_beat_one_gaussian(candles: Path) -> None:
    """Twenty days of ETH/BTC and LTC/BTC at 5m: regimes predict the last four days better than one Gaussian."""
    market = bars(candles, "ETH_BTC-5m.feather", "LTC_BTC-5m.feather")
    assert {symbol: len(frame) for symbol, frame in market.items()} == {"ETH/BTC": 5_760, "LTC/BTC": 5_760}

    _, made = candidate(market)

    assert GATE.judge(made).passed


def test_holes_cut_the_minute_market_into_segments(candles: Path) -> None:
    """717 missing minutes at 538 places make 539 segments, of which 63 are long enough for one row of features."""
    frame = bars(candles, "UNITTEST_BTC-1m.feather")["UNITTEST/BTC"]
    lengths = [len(segment) for segment in frame.segments()]
    span = int(frame.open_time[-1] - frame.open_time[0]) // MINUTE + 1

    assert span - len(frame) == 717
    assert len(lengths) == 539
    assert sum(length > WINDOW for length in lengths) == 63


def test_a_stream_with_two_holes_stays_aligned(candles: Path) -> None:
    """XMR/BTC lacks two bars that the others have; no other bar moves."""
    market = bars(candles, "ETH_BTC-5m.feather", "XMR_BTC-5m.feather")
    missing = set(market["ETH/BTC"].open_time.tolist()) - set(market["XMR/BTC"].open_time.tolist())

    assert len(missing) == 2
    assert len(market["XMR/BTC"].segments()) == 3
