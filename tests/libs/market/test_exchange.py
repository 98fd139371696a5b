import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from services.fleet.prove.apparatus.beside import served
from services.fleet.simulator.app import sim_app
from tests.libs.market.sim.made import START, candles, same, told
from tidewheel.contracts.errors import BadInput, BadSetting, Overloaded, Unavailable
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, MINUTE
from tidewheel.features.frames import CandleFrame
from tidewheel.market.addresses import redirect
from tidewheel.market.calls import without_queries
from tidewheel.market.exchange import Exchange
from tidewheel.market.limiter import Limiter
from tidewheel.market.open import open_exchange
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import Face, SimulatedExchange
from tidewheel.market.sim.scenario import demo

Kind = Literal["spot", "futures"]
KINDS: tuple[Kind, ...] = ("spot", "futures")


@contextmanager
def asked(
    engine: SimulatedExchange, folder: Path, kind: Kind = "spot", sleep_ms: int = 0, exchange_id: str = "binance"
) -> Iterator[Exchange]:
    """The real ccxt client on the real simulator."""
    with served(sim_app(engine)) as url:
        yield open_exchange(exchange_id, type=kind, url=url, sleep_ms=sleep_ms, limiter=Limiter(folder))


def small(count: int = 3_000, now: int | None = None, missing: tuple[int, ...] = ()) -> SimulatedExchange:
    frame = candles(count, missing=missing)
    clock = VirtualClock(START + count * MINUTE if now is None else now)
    return SimulatedExchange(told(("BTC/USDT", "1m", frame), ("ETH/USDT", "1m", candles(10))), clock)


@pytest.mark.parametrize("kind", KINDS)
def test_every_bar_arrives_page_by_page_across_phases(tmp_path: Path, kind: Kind) -> None:
    """What comes out of ccxt is bit for bit what the exchange has, and going on later repeats and loses nothing."""
    engine = SimulatedExchange(demo(1))
    expected = engine.scenario.series[1].frame
    with asked(engine, tmp_path, kind) as exchange:
        symbol = exchange.resolve("ethusdt")
        first = exchange.closed_bars(symbol, "1m", engine.scenario.start + 8 * DAY, limit=10_000)
        engine.to_phase(2)
        second = exchange.closed_bars(symbol, "1m", first.next_since, limit=1_700)

    assert exchange.id == {"spot": "binance", "futures": "binanceusdm"}[kind]
    assert symbol == {"spot": "ETH/USDT", "futures": "ETH/USDT:USDT"}[kind]
    assert (first.complete, first.next_since) == (True, engine.scenario.ends[0])
    assert (second.complete, len(second.frame)) == (False, 1_700)
    got = CandleFrame.concat([first.frame, second.frame], MINUTE)
    assert same(got, expected.between(engine.scenario.start + 8 * DAY, engine.scenario.ends[0] + 1_700 * MINUTE))


@pytest.mark.parametrize("kind", KINDS)
def test_the_open_candle_is_dropped_by_the_exchange_s_clock(tmp_path: Path, kind: Kind) -> None:
    """The exchange stands in 2024, so a host clock would call every bar closed."""
    engine = small(now=START + 5 * MINUTE + 59_999)
    with asked(engine, tmp_path, kind) as exchange:
        page = exchange.closed_bars("BTC/USDT", "1m", START, limit=100)
        assert len(page.frame) == 5
        assert (page.complete, page.next_since, page.server_time) == (True, START + 5 * MINUTE, engine.clock.now())
        assert len(exchange.closed_bars("BTC/USDT", "1m", page.next_since, limit=100).frame) == 0

        engine.clock.move_to(START + 6 * MINUTE)
        page = exchange.closed_bars("BTC/USDT", "1m", page.next_since, limit=100)

    assert page.frame.rows() == candles(6).rows()[5:]


def test_a_limit_beyond_the_exchange_s_page_takes_several_requests_with_pauses(tmp_path: Path) -> None:
    engine = small()
    with asked(engine, tmp_path, sleep_ms=150) as exchange:
        exchange.resolve("BTC/USDT")
        before = engine.requests
        began = engine.clock.now()
        engine.clock.run_at(1.0)
        page = exchange.closed_bars("BTC/USDT", "1m", START, limit=2_500)

    assert len(page.frame) == 2_500
    assert engine.requests - before <= 5
    assert engine.clock.now() - began >= 300  # ms: two pauses between three pages


def test_until_ends_the_answer(tmp_path: Path) -> None:
    with asked(small(), tmp_path) as exchange:
        page = exchange.closed_bars("BTC/USDT", "1m", START, limit=5_000, until=START + 1_200 * MINUTE)
        nothing = exchange.closed_bars("BTC/USDT", "1m", START + MINUTE, limit=5, until=START)

    assert (len(page.frame), page.complete, page.next_since) == (1_200, True, START + 1_200 * MINUTE)
    assert (len(nothing.frame), nothing.complete) == (0, True)


def test_holes_stay_holes_and_do_not_end_the_paging(tmp_path: Path) -> None:
    """A hole in the middle of a page, one longer than a page, and one at the newest end."""
    missing = (5, *range(100, 1_300), 2_998, 2_999)
    with asked(small(missing=missing), tmp_path) as exchange:
        page = exchange.closed_bars("BTC/USDT", "1m", START, limit=5_000)

    assert same(page.frame, candles(3_000, missing=missing))
    assert (page.complete, page.next_since) == (True, START + 2_998 * MINUTE)


def test_an_unaligned_since_starts_with_the_next_bar(tmp_path: Path) -> None:
    with asked(small(), tmp_path) as exchange:
        assert exchange.closed_bars("BTC/USDT", "1m", START + 1, limit=1).frame.open_time.tolist() == [START + MINUTE]


@pytest.mark.parametrize("kind", KINDS)
def test_symbols_are_resolved_as_people_write_them(tmp_path: Path, kind: Kind) -> None:
    with asked(small(), tmp_path, kind) as exchange:
        found = {exchange.resolve(text) for text in ("BTC/USDT", "btcusdt", "BTC-USDT", "btc_usdt", " BTCUSDT ")}
        with pytest.raises(BadInput, match=r"'BTC/USTD' is not traded .* did you mean BTC/USDT"):
            exchange.resolve("BTC/USTD")

    assert found == {"BTC/USDT" if kind == "spot" else "BTC/USDT:USDT"}


def test_an_unknown_timeframe_names_the_known_ones(tmp_path: Path) -> None:
    exchange = open_exchange("binance", limiter=Limiter(tmp_path))

    with pytest.raises(BadInput, match="'7m' is not offered by binance; choose one of 1s, 1m, 3m"):
        exchange.check_timeframe("7m")
    assert "1M" not in exchange.timeframes  # a month has no fixed length


def test_an_unknown_exchange_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'binanse' is not known to ccxt; did you mean binance"):
        open_exchange("binanse", limiter=Limiter(tmp_path))
    with pytest.raises(BadInput, match="offers no candles"):
        open_exchange("coinspot", limiter=Limiter(tmp_path))


@pytest.mark.parametrize("url", ["localhost:9000", "ftp://host", "http://", "http://host/?a=1"])
def test_an_exchange_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadSetting, match="EXCHANGE_URL"):
        open_exchange("binance", url=url, limiter=Limiter(tmp_path))


@pytest.mark.parametrize(
    ("origin", "engine"), [(Origin.SYNTHETIC, SimulatedExchange(demo(1))), (Origin.REPLAY, small())]
)
def test_the_exchange_tells_where_its_bars_come_from(tmp_path: Path, origin: Origin, engine: SimulatedExchange) -> None:
    with asked(engine, tmp_path) as exchange:
        assert exchange.origin() is origin


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 418])
def test_a_short_refusal_is_waited_out(tmp_path: Path, kind: Kind, status: int) -> None:
    engine = small()
    with asked(engine, tmp_path, kind) as exchange:
        exchange.resolve("BTC/USDT")
        engine.clock.run_at(1.0)
        began = engine.clock.now()
        engine.refuse(status, 0.5, count=1)
        page = exchange.closed_bars("BTC/USDT", "1m", START, limit=10)

    assert len(page.frame) == 10
    assert engine.clock.now() - began >= 500


def test_during_a_long_ban_nothing_is_sent_by_anybody(tmp_path: Path) -> None:
    engine = small()
    with served(sim_app(engine)) as url:
        first, second = (open_exchange("binance", url=url, limiter=Limiter(tmp_path)) for _ in range(2))
        first.resolve("BTC/USDT")
        engine.refuse(418, 3_600, count=1)
        with pytest.raises(Overloaded, match="binance refuses requests for 3600 s") as refused:
            first.closed_bars("BTC/USDT", "1m", START, limit=10)
        sent = engine.requests
        for exchange in (first, second):
            with pytest.raises(Overloaded):
                exchange.closed_bars("BTC/USDT", "1m", START, limit=10)

    assert refused.value.extra["retry_after"] == 3_600
    assert engine.requests == sent


def test_an_outage_is_retried_and_a_lasting_one_told(tmp_path: Path) -> None:
    engine = small()
    with asked(engine, tmp_path) as exchange:
        exchange.resolve("BTC/USDT")
        engine.refuse(503, None, count=2)
        assert len(exchange.closed_bars("BTC/USDT", "1m", START, limit=10).frame) == 10
        engine.refuse(503, None, count=100)
        with pytest.raises(Unavailable, match="binance did not give its time in 4 attempts"):
            exchange.server_time()


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_changes_nothing_of_what_is_asked(tmp_path: Path, kind: Kind) -> None:
    """Candles are public: with a key and a secret the same requests are sent, none of them signed."""
    with served(sim_app(small())) as url:
        exchange = open_exchange(
            "binance", type=kind, url=url, api_key="key", secret="secret", limiter=Limiter(tmp_path)
        )
        assert exchange.resolve("btcusdt").startswith("BTC/USDT")


def test_what_ccxt_says_is_toldwithout_queries() -> None:
    """A signed address never leaves in an error."""
    said = without_queries(ValueError("binance GET http://h/sapi/v1/pairs?timestamp=1&signature=4b9e 404 Not Found"))
    assert said == "binance GET http://h/sapi/v1/pairs 404 Not Found"


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with served(sim_app(small())) as url:
        pass

    with pytest.raises(Unavailable, match="check the network and EXCHANGE_URL"):
        open_exchange("binance", url=url, limiter=Limiter(tmp_path)).resolve("BTC/USDT")


def test_an_impossible_bar_is_left_out_and_told(tmp_path: Path) -> None:
    """A bar that is sent so each time is refused with its reason; the bars around it are handed out."""
    engine = small()
    engine.scenario.series[0].frame.high[7] = 1.0
    with asked(engine, tmp_path) as exchange:
        page = exchange.closed_bars("BTC/USDT", "1m", START, limit=10)

    assert page.refused == {START + 7 * MINUTE: "its high is not the highest price"}
    assert same(page.frame, candles(11, missing=(7,)))


@contextmanager
def stammering(engine: SimulatedExchange, texts: list[str]) -> Iterator[str]:
    """An exchange whose next answers to /klines are `texts`, with status 200; then the real ones."""
    app = sim_app(engine)

    async def stammer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path", "").endswith("/klines") and texts:
            await PlainTextResponse(texts.pop(0))(scope, receive, send)
        else:
            await app(scope, receive, send)

    with served(stammer) as url:
        yield url


@pytest.mark.parametrize("text", ["[[1709251200000,", "<html>Bad gateway</html>", "null", ""])
def test_an_answer_cut_short_is_asked_for_again_and_never_taken_for_a_hole(tmp_path: Path, text: str) -> None:
    with stammering(small(), [text, text]) as url:
        exchange = open_exchange("binance", url=url, limiter=Limiter(tmp_path))
        assert same(exchange.closed_bars("BTC/USDT", "1m", START, limit=10).frame, candles(10))

    with stammering(small(), [text] * 100) as url:
        exchange = open_exchange("binance", url=url, limiter=Limiter(tmp_path))
        with pytest.raises(Unavailable, match="did not give its candles in 4 attempts"):
            exchange.closed_bars("BTC/USDT", "1m", START, limit=10)


def klines(engine: SimulatedExchange, start: int) -> str:
    """What the exchange tells of BTC/USDT from there on, now."""
    return json.dumps(engine.klines(Face.SPOT, "BTCUSDT", "1m", start))


def test_an_answer_that_ends_early_is_asked_for_again(tmp_path: Path) -> None:
    """An old answer ends in a bar that was open then; half an hour later the clock alone would call it closed."""
    engine = small(now=START + 10 * MINUTE + 30_000)
    old = klines(engine, START)
    engine.clock.move_to(START + 40 * MINUTE)
    with stammering(engine, [old]) as url:
        exchange = open_exchange("binance", url=url, limiter=Limiter(tmp_path))
        assert same(exchange.closed_bars("BTC/USDT", "1m", START, limit=100).frame, candles(40))


def test_a_market_that_has_fallen_silent_is_believed_at_the_second_answer(tmp_path: Path) -> None:
    """Two answers that end with the same bar are its end; its bars are handed out, with one request more."""
    engine = small(20)
    engine.clock.move_to(START + 60 * MINUTE)
    with asked(engine, tmp_path) as exchange:
        exchange.resolve("BTC/USDT")
        before = engine.requests
        page = exchange.closed_bars("BTC/USDT", "1m", START, limit=100)

    assert same(page.frame, candles(20))
    assert engine.requests - before <= 6  # its time and two answers, for the bars and for what follows them


def test_answers_that_end_elsewhere_each_time_are_told(tmp_path: Path) -> None:
    """Nobody can say what has closed then; nothing is handed out."""
    engine = small()
    answers = [json.dumps(json.loads(klines(engine, START))[: 10 - cut]) for cut in range(8)]
    with stammering(engine, answers) as url:
        exchange = open_exchange("binance", url=url, limiter=Limiter(tmp_path))
        with pytest.raises(Unavailable, match="ends its candles of BTC/USDT elsewhere"):
            exchange.closed_bars("BTC/USDT", "1m", START, limit=100)


def test_a_long_hole_is_crossed_in_long_strides(tmp_path: Path) -> None:
    """Some exchanges show nothing beyond the window asked for: once that is sure, the widest window is asked."""
    engine = small()
    with stammering(engine, ["[]"] * 8) as url:
        exchange = open_exchange("binance", url=url, limiter=Limiter(tmp_path))
        page = exchange.closed_bars("BTC/USDT", "1m", START, limit=10)

    assert page.frame.rows() == candles(1_019).rows()[1_009:]
    assert (page.complete, page.next_since) == (False, START + 1_019 * MINUTE)


def addresses(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        for inner in part.values():
            yield from addresses(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from addresses(inner)
    elif isinstance(part, str):
        yield part


def test_every_address_of_every_exchange_is_redirected() -> None:
    """Each REST and websocket address that ccxt knows goes to the host of EXCHANGE_URL and keeps its path."""
    import ccxt
    import ccxt.pro

    for module, names in ((ccxt, ccxt.exchanges), (ccxt.pro, ccxt.pro.exchanges)):
        for name in names:
            client = getattr(module, name)()
            before = list(addresses(client.urls["api"]))
            redirect(client, "http://sim:9000/x")
            after = list(addresses(client.urls["api"]))
            assert len(before) == len(after) > 0
            for old, new in zip(before, after, strict=True):
                assert new.split("://")[0] == ("ws" if old.startswith("ws") else "http"), name
                assert new.split("://")[1].startswith("sim:9000/x"), name
                assert new.endswith(old.split("://")[1].partition("/")[2]), name


def test_spot_and_futures_paths_survive_the_redirection(tmp_path: Path) -> None:
    import ccxt.pro

    client = ccxt.pro.binance()
    redirect(client, "https://sim")

    assert client.urls["api"]["public"] == "https://sim/api/v3"
    assert client.urls["api"]["fapiPublic"] == "https://sim/fapi/v1"
    assert client.urls["api"]["ws"]["spot"] == "wss://sim/ws"
