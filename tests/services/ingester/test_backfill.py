"""History beside live ingestion: its own cursor, any page may be the last of a life, asked twice is asked once."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.fleet.prove.apparatus.beside import served
from services.fleet.simulator.app import sim_app
from services.ingester.service import backfilling
from tests.libs.market.sim.made import START, candles
from tests.services.ingester.asked import BARS, BTC, ETH, RoleClient, role, simulator
from tidewheel.contracts.errors import Overloaded
from tidewheel.contracts.messages import IngestBackfill, IngestSeal
from tidewheel.contracts.states import BackfillState, GapState
from tidewheel.contracts.times import MINUTE
from tidewheel.ledger.open import Ledger

LIVE_FROM = 500  #: bar with which live ingestion begins here


def order(client: TestClient, **changed: Any) -> Any:
    return client.post("/backfill", json={"streams": [str(BTC)], "start": str(START)} | changed)


def work(client: RoleClient, ledger: Ledger) -> int:
    """Follow hints until there are none, as a worker does; how many there were."""
    handled = 0
    while events := ledger.outbox.pending():
        for event in events:
            client.service.tasks[IngestBackfill](IngestBackfill(**event.payload))
            ledger.outbox.sent([event.id])
            handled += 1
    return handled


def test_history_comes_beside_the_watermark(
    ledger: Ledger, ledger_dsn: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reaches what live ingestion brought, the watermark stays, and each slice tells its progress."""
    monkeypatch.setattr(backfilling, "SLICE_SECONDS", 0.0)
    live = {"start_ts": START + LIVE_FROM * MINUTE, "batch_limit": 100}
    with role(simulator(), ledger_dsn, data_dir, **live) as client:
        client.post("/ingest_once")
        before = ledger.streams.get(BTC)
        first = order(client)
        (event,) = ledger.outbox.pending()
        handler = client.service.tasks[IngestBackfill]
        handler(IngestBackfill(**event.payload))
        half = client.get(f"/backfill/{first.json()['backfills'][0]['backfill_id']}").json()
        work(client, ledger)
        done = client.get("/backfill").json()["backfills"]
        again = order(client).json()["backfills"]

    assert first.status_code == 202
    assert (half["state"], half["cursor"], half["fetched"]) == ("running", START + 100 * MINUTE, 100)
    assert half["progress"] == round(1 / 6, 4)
    assert done == again and [(each["state"], each["progress"], each["fetched"]) for each in done] == [("done", 1, 600)]
    after = ledger.streams.get(BTC)
    assert before is not None and after is not None
    assert (after.watermark, after.first_open, after.gaps_open) == (before.watermark, START, 0)
    assert np.array_equal(ledger.bars.read(BTC).matrix(), candles(600).matrix())
    assert {file.revision for file in ledger.bars.files(BTC)} == {0}
    assert all(finding.ok for finding in ledger.fsck())
    assert ledger.outbox.pending() == []


def test_a_stream_may_begin_with_its_history(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """Without bars the watermark follows the backfill, over a late listing and holes; live goes on behind it."""
    engine = simulator(missing=(*range(50), 120, 121))
    with role(engine, ledger_dsn, data_dir, batch_limit=64, symbols=("BTC/USDT",)) as client:
        wanted = order(client, streams=[], start=str(START - 500 * MINUTE), end=str(START + 400 * MINUTE)).json()
        work(client, ledger)
        (done,) = client.get("/backfill").json()["backfills"]
        middle = ledger.streams.get(BTC)
        live = client.post("/ingest_once", params={"until": "now"}).json()["streams"][0]

    assert [each["stream"] for each in wanted["backfills"]] == [str(BTC)]
    assert (done["state"], done["fetched"]) == ("done", 348)
    assert middle is not None and middle.watermark == START + 400 * MINUTE
    assert (middle.gaps_open, middle.gaps_confirmed) == (0, 1)
    assert (live["stored"], live["watermark"], live["gaps"]) == (300, START + BARS * MINUTE, 0)


def test_bars_that_wait_for_a_seal_are_not_swallowed(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """Live bars that nothing has sealed yet keep a file of their own, and history stays first revisions."""
    live = {"symbols": ("BTC/USDT",), "start_ts": START + LIVE_FROM * MINUTE, "batch_limit": 100}
    with role(simulator(now=LIVE_FROM + 20), ledger_dsn, data_dir, **live) as client:
        client.service.tasks[IngestSeal](IngestSeal(stream=str(BTC)))
        order(client)
        work(client, ledger)

    assert {file.revision for file in ledger.bars.files(BTC)} == {0}
    assert np.array_equal(
        ledger.bars.read(BTC).matrix(), candles(LIVE_FROM + 20).matrix()[: len(ledger.bars.read(BTC))]
    )
    stream = ledger.streams.get(BTC)
    assert stream is not None and (stream.watermark, stream.gaps_open) == (START + (LIVE_FROM + 20) * MINUTE, 0)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"streams": ["kraken:BTC/USDT:1m"]}, "is not of binance"),
    ({"streams": ["binance:BTC/USDD:1m"]}, "did you mean BTC/USDT"),
    ({"streams": ["binance:BTC/USDT:7m"]}, "not offered"),
    ({"streams": ["BTC"]}, "not of the form"),
    ({"start": "soon"}, "neither epoch"),
    ({"start": "-60000"}, "before 1970"),
    ({"start": str(START + 600 * MINUTE)}, "holds no bar"),
    ({"end": str(START)}, "holds no bar"),
    ({"end": str(START + 650 * MINUTE)}, "beyond the watermark"),
    ({"streams": [str(ETH)], "end": str(START + 699 * MINUTE)}, "two minutes ago"),
    ({"until": "now"}, "until"),
]


def test_what_cannot_be_meant_is_refused_and_nothing_is_ordered(
    ledger: Ledger, ledger_dsn: str, data_dir: Path
) -> None:
    """Each with a sentence; where one of two streams is wrong, the other is not ordered either."""
    with role(simulator(), ledger_dsn, data_dir, symbols=("BTC/USDT",), batch_limit=600) as client:
        client.post("/ingest_once")
        for changed, sentence in REFUSED:
            refused = order(client, **({"streams": [str(BTC), str(ETH)]} | changed))
            assert refused.status_code == 422 and sentence in refused.text
        missing = client.get("/backfill/7")

    assert missing.status_code == 404
    assert ledger.backfills.list() == [] and ledger.outbox.pending() == []


KILLED = """
import os, signal, sys
from pathlib import Path
from services.ingester.app import build
from services.ingester.service import writer
from services.ingester.settings import IngesterSettings
from tidewheel.contracts.messages import IngestBackfill
from tidewheel.kit.settings import load

url, dsn, data_dir, place, page = sys.argv[1:]
left = int(page)

def killed(method):
    def counted(*args, **kwargs):
        global left
        answer = method(*args, **kwargs)
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return counted

owner, name = {
    "appended": (writer.StreamWriter, "_append"),
    "stored": (writer.StreamWriter, "store_past"),
}[place]
setattr(owner, name, killed(getattr(owner, name)))
settings = load(IngesterSettings, exchange_url=url, ledger_db=dsn, data_dir=Path(data_dir), symbols=("BTC/USDT",),
                redis_url="redis://127.0.0.1:9/0", auth_mode="dev", batch_limit=100)
build(settings).tasks[IngestBackfill](IngestBackfill(backfill_id=1))
"""


@pytest.mark.parametrize(("place", "page"), [("appended", 2), ("stored", 3)])
def test_a_kill_at_any_page_loses_and_doubles_nothing(
    ledger: Ledger, ledger_dsn: str, data_dir: Path, place: str, page: int
) -> None:
    """Killed between any two steps of a page; the next worker takes over at once and goes on at the cursor."""
    engine = simulator(missing=(130, 131))
    live = {"symbols": ("BTC/USDT",), "start_ts": START + LIVE_FROM * MINUTE, "batch_limit": 100}
    with served(sim_app(engine)) as url, role(engine, ledger_dsn, data_dir, **live) as client:
        client.post("/ingest_once")
        watermark = client.get("/streams").json()["streams"][0]["watermark"]
        order(client)
        arguments = [sys.executable, "-c", KILLED, url, ledger_dsn, str(data_dir), place, str(page)]
        assert subprocess.run(arguments, check=False, timeout=120, env={**os.environ}).returncode == -signal.SIGKILL
        (waiting,) = ledger.backfills.stale()
        work(client, ledger)
        done = ledger.backfills.get(waiting.id)

    assert waiting.cursor == int(candles(600, missing=(130, 131)).open_time[(page - 1) * 100 - 1]) + MINUTE
    assert (done.state, done.fetched) == (BackfillState.DONE, 598)
    assert np.array_equal(ledger.bars.read(BTC).matrix(), candles(600, missing=(130, 131)).matrix())
    files = ledger.bars.files(BTC)
    assert sum(file.bars for file in files if file.revision == 0) == 598 == sum(file.bars for file in files)
    assert [(gap.end - gap.start, gap.state) for gap in ledger.bars.gaps(BTC) if gap.state is not GapState.HEALED] == [
        (2 * MINUTE, GapState.CONFIRMED_EMPTY)
    ]
    stream = ledger.streams.get(BTC)
    assert stream is not None and stream.watermark == watermark
    assert all(finding.ok for finding in ledger.fsck())


def test_live_ingestion_goes_on_between_the_pages(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """While history is fetched the stream's newest bars come in; neither waits for the other's end."""
    engine = simulator(now=LIVE_FROM)
    live = {"symbols": ("BTC/USDT",), "start_ts": START + (LIVE_FROM - 20) * MINUTE, "batch_limit": 10}
    seen: list[tuple[int, int]] = []
    with role(engine, ledger_dsn, data_dir, **live) as client:
        client.post("/ingest_once", params={"until": "now"})
        order(client, start=str(START + 300 * MINUTE))
        worker = threading.Thread(target=lambda: work(client, ledger))
        worker.start()
        while worker.is_alive():
            engine.clock.move_to(min(engine.clock.now() + MINUTE, START + BARS * MINUTE))
            (report,) = client.post("/ingest_once", params={"until": "now"}).json()["streams"]
            assert "error" not in report
            seen.append((report["watermark"], ledger.backfills.get(1).cursor))
        worker.join()

    running = [(watermark, cursor) for watermark, cursor in seen if cursor < START + LIVE_FROM * MINUTE]
    assert len({watermark for watermark, _ in running}) > 3 and len({cursor for _, cursor in running}) > 3
    stored = ledger.bars.read(BTC)
    assert np.array_equal(stored.matrix(), candles(BARS).matrix()[300 : 300 + len(stored)])
    assert {file.revision for file in ledger.bars.files(BTC)} == {0}


def test_a_ban_is_waited_out_and_a_cancelled_one_goes_on_when_ordered_again(
    ledger: Ledger, ledger_dsn: str, data_dir: Path
) -> None:
    """A refusal is told as the reason and nothing is sent; cancelled, it stays so until it is ordered again."""
    engine = simulator()
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",)) as client:
        order(client)
        engine.refuse(418, 60.0, 1)
        with pytest.raises(Overloaded):
            work(client, ledger)
        banned = ledger.backfills.get(1)
        asked = engine.requests
        with pytest.raises(Overloaded):
            work(client, ledger)
    (data_dir / "limits" / next((data_dir / "limits").glob("*.json")).name).unlink()

    assert engine.requests == asked and banned.state is BackfillState.RUNNING
    assert banned.reason is not None and "60" in banned.reason
    stopped = ledger.backfills.cancel(1, "ann")
    assert (stopped.state, stopped.reason) == (BackfillState.CANCELLED, "cancelled by ann")
    with role(engine, ledger_dsn, data_dir, symbols=("BTC/USDT",)) as client:
        ledger.outbox.sent([event.id for event in ledger.outbox.pending()])
        assert client.post("/backfill/1/cancel").json()["state"] == "cancelled"
        order(client)
        assert work(client, ledger) >= 1
    assert ledger.backfills.get(1).state is BackfillState.DONE


def test_the_gap_of_a_stopped_backfill_is_its_own(
    ledger: Ledger, ledger_dsn: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingestion leaves it alone, though it looks into others; ordered again the backfill fills it."""
    monkeypatch.setattr(backfilling, "SLICE_SECONDS", 0.0)
    engine = simulator(missing=(LIVE_FROM + 50,), now=LIVE_FROM + 100)
    live = {"symbols": ("BTC/USDT",), "start_ts": START + LIVE_FROM * MINUTE, "batch_limit": 100}

    def unhealed() -> list[tuple[int, int, GapState]]:
        return [
            ((gap.start - START) // MINUTE, (gap.end - START) // MINUTE, gap.state)
            for gap in ledger.bars.gaps(BTC)
            if gap.state is not GapState.HEALED
        ]

    with role(engine, ledger_dsn, data_dir, **live) as client:
        client.post("/ingest_once", params={"until": "now"})
        order(client)
        client.service.tasks[IngestBackfill](IngestBackfill(backfill_id=1))
        stopped = client.post("/backfill/1/cancel").json()
        for _ in range(3):
            engine.clock.move_to(engine.clock.now() + MINUTE)
            client.post("/ingest_once", params={"until": "now"})
        left = unhealed()
        again = order(client).json()["backfills"][0]
        work(client, ledger)

    confirmed = (LIVE_FROM + 50, LIVE_FROM + 51, GapState.CONFIRMED_EMPTY)
    assert (stopped["state"], stopped["cursor"]) == ("cancelled", START + 100 * MINUTE)
    assert left == [(100, LIVE_FROM, GapState.OPEN), confirmed]
    assert (again["backfill_id"], again["cursor"]) == (1, stopped["cursor"])
    assert unhealed() == [confirmed]
    assert ledger.backfills.get(1).state is BackfillState.DONE
