"""The ingester on the real client and the simulated exchange, over HTTP."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.ingester.app import build
from services.ingester.settings import IngesterSettings
from tests.libs.market.sim.made import START, candles, told
from tests.services.ingester.asked import BARS, BTC, ETH, NO_BROKER, role, simulator
from tests.waiting import until
from tidewheel.contracts.errors import BadSetting, Overloaded
from tidewheel.contracts.messages import IngestSeal
from tidewheel.contracts.states import GapState, Origin
from tidewheel.contracts.times import DAY, MINUTE
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.formats import csv_text, read_parquet
from tidewheel.ledger.open import Ledger
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import SimulatedExchange


def test_one_call_brings_one_chunk_of_each_stream(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """The answer is contracts.md's, the files are sealed, and the third call is caught up."""
    with role(simulator(), ledger_dsn, data_dir) as client:
        first = client.post("/ingest_once").json()
        second = client.post("/ingest_once").json()
        third = client.post("/ingest_once").json()
        fourth = client.post("/ingest_once").json()

    assert first == {
        "streams": [
            {
                "stream": str(key),
                "fetched": 300,
                "stored": 300,
                "file_id": file_id,
                "watermark": START + 300 * MINUTE,
                "gaps": 0,
                "caught_up": False,
            }
            for key, file_id in ((BTC, 1), (ETH, 2))
        ]
    }
    assert [each["caught_up"] for each in second["streams"]] == [False, False]
    assert [(each["stored"], each["caught_up"]) for each in third["streams"]] == [(100, True)] * 2
    assert [(each["stored"], each["file_id"]) for each in fourth["streams"]] == [(0, None)] * 2
    assert len(list((data_dir / "incoming/binance/BTC%2FUSDT/1m").glob("*.csv"))) == 3
    assert np.array_equal(ledger.bars.read(BTC).matrix(), candles(BARS).matrix())
    stream = ledger.streams.get(BTC)
    assert stream is not None and stream.origin is not Origin.EXCHANGE


def test_until_now_loops_to_the_newest_closed_bar(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """`?until=now` goes on chunk after chunk, `?until=<time>` up to there; each chunk is a file."""
    engine = simulator()
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",)) as client:
        part = client.post("/ingest_once", params={"until": str(START + 350 * MINUTE)}).json()["streams"][0]
        rest = client.post("/ingest_once", params={"until": "now"}).json()["streams"][0]
        bad = client.post("/ingest_once", params={"until": "soon"})

    assert (part["stored"], part["watermark"], part["caught_up"]) == (350, START + 350 * MINUTE, True)
    assert (rest["stored"], rest["watermark"], rest["caught_up"]) == (350, START + BARS * MINUTE, True)
    assert [file.bars for file in ledger.bars.files(BTC)] == [300, 50, 300, 50]
    assert (bad.status_code, bad.json()["code"]) == (422, "bad_input")


def test_one_stream_alone_is_brought_up_to_date(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """`?stream=` fetches days beside the minutes that the settings name, and touches those not."""
    days = candles(700, "1d")
    engine = SimulatedExchange(told(("BTC/USDT", "1d", days)), VirtualClock(START + 699 * DAY + 1))
    with role(engine, ledger_dsn, data_dir) as client:
        query = {"stream": "binance:btcusdt:1d", "until": "now"}
        (first,) = client.post("/ingest_once", params=query).json()["streams"]
        engine.clock.move_to(START + 700 * DAY)
        (second,) = client.post("/ingest_once", params=query).json()["streams"]
        known = [each["stream"] for each in client.get("/streams").json()["streams"]]
        foreign = client.post("/ingest_once", params={"stream": "kraken:BTC/USDT:1d"})
        unknown = client.post("/ingest_once", params={"stream": "binance:DOGE/USDT:1d"})

    assert (first["stream"], first["stored"], first["caught_up"]) == ("binance:BTC/USDT:1d", 699, True)
    assert (second["stored"], second["watermark"]) == (1, START + 700 * DAY)
    assert known == ["binance:BTC/USDT:1d"]
    assert (foreign.status_code, unknown.json()["code"]) == (422, "unknown_symbol")


def test_the_open_candle_waits(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """A bar is stored when the exchange's clock says that it has closed, and never before."""
    engine = simulator(now=100)
    engine.clock.move_to(START + 100 * MINUTE + 30_000)
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",)) as client:
        first = client.post("/ingest_once", params={"until": "now"}).json()["streams"][0]
        engine.clock.move_to(START + 101 * MINUTE)
        second = client.post("/ingest_once", params={"until": "now"}).json()["streams"][0]

    assert (first["watermark"], second["watermark"]) == (START + 100 * MINUTE, START + 101 * MINUTE)
    assert second["stored"] == 1


def test_start_before_the_first_bar_and_end_ts(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """Where START_TS lies before all history the watermark still gets going; END_TS is a wall."""
    settings = {"symbols": ("BTC/USDT",), "start_ts": START - 20 * DAY, "end_ts": START + 200 * MINUTE}
    with role(simulator(), ledger_dsn, data_dir, **settings) as client:
        first = client.post("/ingest_once").json()["streams"][0]
        second = client.post("/ingest_once").json()["streams"][0]

    assert (first["stored"], first["watermark"], first["gaps"]) == (200, START + 200 * MINUTE, 0)
    assert (second["fetched"], second["caught_up"]) == (0, True)


def test_a_hole_is_confirmed_by_two_requests_and_told(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """Bars that the exchange does not have leave a gap with its evidence; the watermark goes on."""
    engine = simulator(missing=(50, 51, 299, 300, 301))
    with role(engine, ledger_dsn, data_dir) as client:
        told_streams = client.post("/ingest_once", params={"until": "now"}).json()["streams"]
        views = client.get("/streams").json()["streams"]

    assert [(each["gaps"], each["watermark"]) for each in told_streams] == [(0, START + BARS * MINUTE)] * 2
    counts = [(each["gaps_open"], each["gaps_confirmed"], each["gaps_healed"]) for each in views]
    assert counts == [(0, 2, 0), (0, 0, 0)]
    first, _ = ledger.bars.gaps(BTC)
    assert (first.start, first.end) == (START + 50 * MINUTE, START + 52 * MINUTE)
    one, other = first.evidence["requests"]
    assert one["since"] != other["since"] and min(one["at"], other["at"]) >= first.end


def test_a_bar_that_cannot_be_stays_out_until_it_is_mended(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """It leaves an open gap that names the reason; when the exchange mends it, the gap heals."""
    engine = simulator()
    high = engine.scenario.series[0].frame.high
    true, high[40] = high[40], 1.0
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",)) as client:
        client.post("/ingest_once")
        (gap,) = ledger.bars.gaps(BTC)
        stored = len(ledger.bars.read(BTC))
        high[40] = true
        client.post("/ingest_once")
        view = client.get("/streams").json()["streams"][0]

    assert gap.evidence["refused"] == {"2024-03-01T00:40:00Z": "its high is not the highest price"}
    assert (stored, gap.state) == (300, GapState.OPEN)
    assert (view["gaps_open"], view["gaps_confirmed"], view["gaps_healed"]) == (0, 0, 1)
    assert np.array_equal(ledger.bars.read(BTC).matrix(), candles(601).matrix())


def test_a_correction_becomes_a_revision(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """The newest known bars are asked for again; `as_of` still tells what was known before."""
    engine = simulator(now=300)
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",)) as client:
        client.post("/ingest_once")
        before = ledger.now()
        while ledger.now() <= before + 1:
            time.sleep(0.001)
        engine.scenario.series[0].frame.close[295] += 0.25
        second = client.post("/ingest_once").json()["streams"][0]
        third = client.post("/ingest_once").json()["streams"][0]

    assert (second["fetched"], second["stored"], second["revised"]) == (0, 0, 1)
    assert "revised" not in third
    was, now = ledger.bars.read(BTC, as_of=before), ledger.bars.read(BTC)
    assert (now.close[295] - was.close[295], int(now.revision[295])) == (0.25, 1)
    assert np.array_equal(np.delete(now.matrix(), 295, 0), np.delete(was.matrix(), 295, 0))


def test_one_stream_fails_and_the_others_go_on(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """An unknown symbol is told in its report with a near match; when all fail the answer is a problem."""
    with role(simulator(), ledger_dsn, data_dir, symbols=("BTC/USDD", "ETH/USDT")) as client:
        mixed = client.post("/ingest_once")
    with role(simulator(), ledger_dsn, data_dir, symbols=("BTC/USDD",)) as client:
        failed = client.post("/ingest_once")

    bad, good = mixed.json()["streams"]
    assert (mixed.status_code, bad["error"]["code"], good["stored"]) == (200, "unknown_symbol", 300)
    assert "BTC/USDT" in bad["error"]["detail"]
    assert (failed.status_code, failed.json()["code"]) == (422, "unknown_symbol")
    assert failed.json()["streams"][0]["stream"] == "binance:BTC/USDD:1m"


def test_a_ban_is_a_problem_and_nothing_is_lost(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """While the exchange refuses, the answer says for how long; what came before stays stored."""
    engine = simulator()
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",)) as client:
        client.post("/ingest_once")
        engine.refuse(418, 60.0, 1)
        banned = client.post("/ingest_once")
        asked = engine.requests
        again = client.post("/ingest_once")

    assert (banned.status_code, banned.json()["code"]) == (429, "exchange_refused")
    assert again.status_code == 429 and engine.requests == asked
    assert len(ledger.bars.read(BTC)) == 300


def test_a_disk_below_its_floor_stops_ingestion_and_nothing_else(
    ledger: Ledger, ledger_dsn: str, data_dir: Path
) -> None:
    """The exchange is not even asked; what is stored is still told, and /ready says what wants room."""
    engine = simulator()
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",)) as client:
        client.post("/ingest_once")
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",), disk_floor_mb=10**9) as client:
        low, ready = client.post("/ingest_once"), client.get("/ready")
        told = client.get("/streams").json()

    assert (low.status_code, low.json()["code"]) == (503, "disk_low")
    assert str(data_dir) in low.json()["detail"] and "TIDEWHEEL_DISK_FLOOR_MB" in low.json()["detail"]
    assert ready.status_code == 200 and "make room" in str(ready.json()["degraded"])
    assert told["streams"][0]["sealed_bars"] == 300


def test_exchange_away(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """The role starts without its exchange, and says which one is away when it is asked to ingest."""
    settings = load(
        IngesterSettings,
        exchange_url="http://127.0.0.1:9",
        ledger_db=ledger_dsn,
        data_dir=data_dir,
        redis_url=NO_BROKER,
        auth_mode="dev",
        symbols=("BTC/USDT",),
    )
    with TestClient(create_app(build(settings))) as client:
        assert client.get("/health").status_code == 200
        away = client.post("/ingest_once")

    assert (away.status_code, away.json()["code"]) == (503, "exchange_unavailable")
    assert "EXCHANGE_URL" in away.json()["detail"]


def test_concurrent_calls_queue_up(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """Four calls at once fetch every bar once, and none of them is refused."""
    with role(simulator(), ledger_dsn, data_dir) as client:
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/ingest_once").status_code)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert answers == [200] * 4
    files = ledger.bars.files(BTC)
    assert sum(file.bars for file in files) == BARS and len(ledger.bars.read(BTC)) == BARS


def test_ingestion_keeps_no_other_route_waiting(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """Five calls that wait for another writer take no thread from those who only ask."""
    taken = ledger.leases.acquire(f"stream:{BTC}", "collector-7", 60_000)
    assert taken is not None
    with role(simulator(), ledger_dsn, data_dir, symbols=("BTC/USDT",), lease_wait_seconds=60.0) as client:
        ended: list[int] = []
        calls = [
            threading.Thread(target=lambda: ended.append(client.post("/ingest_once").status_code)) for _ in range(5)
        ]
        for call in calls:
            call.start()
        until(lambda: 'in_flight{role="ingester"} 6.0' in client.get("/metrics").text)
        status = client.get("/streams").status_code
        before = list(ended)
        ledger.leases.release(taken)
        for call in calls:
            call.join()

    assert (status, before, ended) == (200, [], [200] * 5)


def test_foreign_writer_is_named(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """A stream that another process holds answers 409 with its name, and is left alone."""
    ledger.leases.acquire(f"stream:{BTC}", "collector-7", 60_000)
    with role(simulator(), ledger_dsn, data_dir, symbols=("BTC/USDT",), lease_wait_seconds=0.2) as client:
        taken = client.post("/ingest_once")

    assert (taken.status_code, taken.json()["code"], taken.json()["holder"]) == (409, "lease_taken", "collector-7")


def test_task_stores_at_once_and_seals_when_due(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """The cron's task leaves few bars in the tail, and seals them once SEAL_BARS wait."""
    engine = simulator(now=20)
    with role(engine, ledger_dsn, data_dir, seal_bars=60) as client:
        handle = client.service.tasks[IngestSeal]
        handle(IngestSeal(stream="binance:btcusdt:1m"))
        waiting = ledger.streams.get(BTC)
        engine.clock.move_to(START + 60 * MINUTE)
        handle(IngestSeal(stream=str(BTC)))
        sealed = ledger.streams.get(BTC)

    assert waiting is not None and (waiting.tail_bars, waiting.files, waiting.watermark) == (20, 0, None)
    assert sealed is not None and (sealed.tail_bars, sealed.files) == (0, 1)
    assert sealed.watermark == START + 60 * MINUTE


def test_a_scheduled_failure_is_told_until_it_is_over(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """Nobody sees a worker fail: `GET /streams` tells the last reason, how often and whether it is over."""
    engine = simulator(now=20)
    with role(engine, ledger_dsn, data_dir) as client:
        handle = client.service.tasks[IngestSeal]
        handle(IngestSeal(stream="binance:btcusdt:1m"))
        quiet = client.get("/streams").json()
        engine.refuse(429, 3_600.0, count=1)
        for stream in ("binance:btcusdt:1m", "binance:btcusdt:1m", "binance:ethusdt:1m"):
            with pytest.raises(Overloaded):
                handle(IngestSeal(stream=stream))
        failing = client.get("/streams").json()
        for ban in (data_dir / "limits").iterdir():
            ban.unlink()
        for stream in ("binance:btcusdt:1m", "binance:ethusdt:1m"):
            handle(IngestSeal(stream=stream))
        over = client.get("/streams").json()

    assert (quiet["streams"][0]["last_failure"], quiet["unknown"]) == (None, [])
    told, unknown = failing["streams"][0]["last_failure"], failing["unknown"]
    assert (told["stream"], told["code"], told["times"], told["over_at"]) == (str(BTC), "overloaded", 2, None)
    assert [(each["stream"], each["times"]) for each in unknown] == [(str(ETH), 1)]
    last = [each["last_failure"] for each in over["streams"]]
    assert all(each["over_at"] >= each["failed_at"] for each in last) and over["unknown"] == []


def test_old_csv_files_are_dropped_and_their_candles_kept(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """RETENTION_DAYS removes CSV files sealed longer ago, at the next seal; reading and fsck do not miss them."""
    with role(simulator(), ledger_dsn, data_dir, symbols=("BTC/USDT",), retention_days=2.0) as client:
        client.post("/ingest_once")
        old = data_dir / ledger.bars.files(BTC)[0].csv_path
        long_ago = time.time() - 3 * 86_400
        os.utime(old, (long_ago, long_ago))
        client.post("/ingest_once")

    assert not old.exists() and (data_dir / ledger.bars.files(BTC)[1].csv_path).exists()
    assert len(ledger.bars.read(BTC)) == 600
    assert all(finding.ok for finding in ledger.fsck())


def test_candles_in_three_formats_and_as_of(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """The same bars come as JSON, CSV and parquet; `as_of` before the ingestion gives none."""
    frame = candles(BARS).take(slice(10, 20))
    span = {"stream": str(BTC), "start": str(START + 10 * MINUTE), "end": str(START + 20 * MINUTE)}
    before = ledger.now() - 1
    with role(simulator(), ledger_dsn, data_dir) as client:
        client.post("/ingest_once")
        as_json = client.get("/candles", params=span)
        as_csv = client.get("/candles", params=span | {"format": "csv"})
        as_parquet = client.get("/candles", params=span | {"format": "parquet"})
        earlier = client.get("/candles", params=span | {"as_of": str(before)})
        streams = client.get("/streams").json()["streams"]
        unknown = client.get("/candles", params={"stream": "binance:DOGE/USDT:1m"})
        malformed = client.get("/candles", params={"stream": "BTC"})

    assert as_json.json()["bars"] == [list(row) for row in frame.rows()]
    assert as_csv.text == csv_text(frame)
    assert np.array_equal(read_parquet(as_parquet.content).matrix(), frame.matrix())
    assert earlier.json()["bars"] == []
    assert [(each["stream"], each["sealed_bars"], each["files"]) for each in streams] == [
        (str(BTC), 300, 1),
        (str(ETH), 300, 1),
    ]
    assert (unknown.status_code, malformed.status_code) == (404, 422)


def test_settings_speak_of_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SYMBOLS beats SYMBOL, TIMEFRAME and INTERVAL may not differ, and a bad value is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYMBOL", "ethusdt")
    assert load(IngesterSettings).wanted_symbols == ("ethusdt",)
    monkeypatch.setenv("SYMBOLS", "BTC/USDT, SOL/USDT,BTC/USDT")
    assert load(IngesterSettings).wanted_symbols == ("BTC/USDT", "SOL/USDT")
    monkeypatch.setenv("START_TS", "2026-01-01T00:00Z")
    assert load(IngesterSettings).start_ts == 1767225600000
    monkeypatch.setenv("INTERVAL", "5m")
    assert load(IngesterSettings).timeframe == "5m"
    monkeypatch.setenv("TIMEFRAME", "1m")
    with pytest.raises(BadSetting, match="TIMEFRAME=1m and INTERVAL=5m"):
        load(IngesterSettings)
    monkeypatch.delenv("INTERVAL")
    monkeypatch.setenv("TIMEFRAME", "1x")
    with pytest.raises(BadSetting, match="TIMEFRAME=1x"):
        load(IngesterSettings)
    monkeypatch.delenv("TIMEFRAME")
    monkeypatch.setenv("END_TS", "2025-01-01")
    with pytest.raises(BadSetting, match="END_TS"):
        load(IngesterSettings)
