from dataclasses import replace

import pytest

from tests.libs.market.sim.made import START, candles, told
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import MINUTE
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import Face, Refused, SimulatedExchange


def exchange(now: int, *, missing: tuple[int, ...] = ()) -> SimulatedExchange:
    return SimulatedExchange(told(("BTC/USDT", "1m", candles(2_000, missing=missing))), VirtualClock(now))


def opens(rows: list[list[object]]) -> list[int]:
    return [(int(str(row[0])) - START) // MINUTE for row in rows]


def test_from_a_start_the_oldest_come_first_up_to_the_face_s_limit() -> None:
    market = exchange(START + 2_000 * MINUTE)

    assert opens(market.klines(Face.SPOT, "BTCUSDT", "1m", START + 1, limit=5_000)) == list(range(1, 1_001))
    assert opens(market.klines(Face.USDM, "BTCUSDT", "1m", START, limit=5_000)) == list(range(1_500))
    assert opens(market.klines(Face.SPOT, "BTCUSDT", "1m", START, START + 2 * MINUTE)) == [0, 1, 2]


def test_without_a_start_the_newest_are_given() -> None:
    assert opens(exchange(START + 2_000 * MINUTE).klines(Face.SPOT, "BTCUSDT", "1m", limit=3)) == [1_998, 1_999, 2_000]


def test_the_open_candle_is_shown_as_far_as_it_has_come() -> None:
    """Half a minute into a bar from 100 to 101 it stands at 100.5, and nothing of the future shows."""
    rows = exchange(START + MINUTE // 2).klines(Face.SPOT, "BTCUSDT", "1m", START)

    assert len(rows) == 1
    assert [float(value) for value in rows[0][1:6]] == [100.0, 100.75, 99.75, 100.5, 0.5]


def test_a_hole_in_the_candles_is_a_hole_in_the_answer() -> None:
    market = exchange(START + 10 * MINUTE, missing=(3, 4))

    assert opens(market.klines(Face.SPOT, "BTCUSDT", "1m", START))[:5] == [0, 1, 2, 5, 6]


def test_longer_timeframes_are_made_from_the_recorded_one() -> None:
    rows = exchange(START + 20 * MINUTE, missing=(7,)).klines(Face.SPOT, "BTCUSDT", "5m", START)

    assert [float(value) for value in rows[0][1:6]] == [100.0, 105.5, 99.5, 105.0, 15.0]
    assert [float(value) for value in rows[1][1:6]] == [105.0, 110.5, 104.5, 110.0, 32.0]


@pytest.mark.parametrize(
    ("symbol", "interval", "limit", "code"),
    [("XXXUSDT", "1m", 10, -1121), ("BTCUSDT", "7m", 10, -1120), ("BTCUSDT", "1m", 0, -1130)],
)
def test_binance_s_own_errors(symbol: str, interval: str, limit: int, code: int) -> None:
    with pytest.raises(Refused) as refused:
        exchange(START + MINUTE).klines(Face.SPOT, symbol, interval, START, limit=limit)

    assert refused.value.extra["binance_code"] == code


def test_a_timeframe_below_the_recorded_one_is_refused() -> None:
    market = SimulatedExchange(told(("BTC/USDT", "5m", candles(10, "5m"))))

    with pytest.raises(Refused, match="Invalid interval"):
        market.klines(Face.SPOT, "BTCUSDT", "1m", START)


def test_the_clock_only_goes_forward() -> None:
    clock = VirtualClock(START)
    clock.move_to(START + MINUTE)

    with pytest.raises(BadInput, match="only goes forward"):
        clock.move_to(START)
    assert clock.now() == START + MINUTE
    with pytest.raises(BadInput, match="speed -1"):
        clock.run_at(-1)


def test_a_running_clock_gains_on_real_time() -> None:
    clock = VirtualClock(START, speed=1_000_000)
    while clock.now() < START + 5_000:
        pass
    clock.run_at(0)
    stopped = clock.now()

    assert clock.now() == stopped


def test_numbers_read_back_as_they_were_recorded() -> None:
    """Prices far below 1 keep every digit and are never written with an exponent, as Binance does not."""
    frame = candles(3)
    columns = ("open", "high", "low", "close", "volume")
    tiny = replace(frame, **{name: getattr(frame, name) * 1e-8 / 3 for name in columns})
    rows = SimulatedExchange(told(("SHIB/BTC", "1m", tiny))).klines(Face.SPOT, "SHIBBTC", "1m", START, limit=3)

    assert not any("e" in text for row in rows for text in row[1:6])
    assert [tuple(float(text) for text in row[1:6]) for row in rows] == [row[1:] for row in tiny.rows()]


def test_two_sources_of_one_stream_are_refused() -> None:
    with pytest.raises(BadInput, match="two sources for BTC/USDT 1m"):
        SimulatedExchange(told(("BTC/USDT", "1m", candles(3)), ("BTC/USDT", "1m", candles(4))))
