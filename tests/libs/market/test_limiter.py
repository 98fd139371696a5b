import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.fleet.prove.apparatus.beside import served
from services.fleet.simulator.app import sim_app
from tests.libs.market.sim.made import START, candles, told
from tidewheel.contracts.errors import BadSetting, Overloaded
from tidewheel.contracts.times import MINUTE
from tidewheel.market.limiter import MAX_WAIT, Bucket, Limiter
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.faults import Faults, RudeExchange


class HandClock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def bucket(path: Path, clock: HandClock, per_second: float = 2.0, burst: float = 4.0) -> Bucket:
    return Bucket(path / "b.json", per_second, burst, clock, clock.sleep)


def test_a_burst_is_free_and_then_the_rate_holds(tmp_path: Path) -> None:
    clock = HandClock()
    mine = bucket(tmp_path, clock)
    for _ in range(10):
        mine.take()

    assert sum(clock.slept) == pytest.approx(3.0)  # 10 units, 4 saved up, 2 a second


def test_a_request_dearer_than_the_burst_is_paid_for_afterwards(tmp_path: Path) -> None:
    clock = HandClock()
    mine = bucket(tmp_path, clock)
    mine.take(10)
    assert clock.slept == []
    mine.take(1)

    assert sum(clock.slept) == pytest.approx(3.5)


def test_a_ban_reaches_every_bucket_on_the_file_and_outlives_them(tmp_path: Path) -> None:
    clock = HandClock()
    bucket(tmp_path, clock).ban(60)
    bucket(tmp_path, clock).ban(5)  # a later, shorter one does not end it

    with pytest.raises(Overloaded) as refused:
        bucket(tmp_path, clock).take()
    assert refused.value.extra["retry_after"] == pytest.approx(60)
    clock.now += 60
    bucket(tmp_path, clock).take()


def test_a_short_ban_is_slept_through(tmp_path: Path) -> None:
    clock = HandClock()
    mine = bucket(tmp_path, clock)
    mine.ban(3)
    mine.take()

    assert sum(clock.slept) == pytest.approx(3)


def spend(path: Path, count: int) -> None:
    mine = Bucket(path, per_second=50.0, burst=10.0)
    for _ in range(count):
        mine.take()


def test_processes_share_one_rate(tmp_path: Path) -> None:
    """Three processes that want 20 units each get 60 from a burst of 10 and 50 a second: not before 1 s."""
    spawned = multiprocessing.get_context("spawn")
    workers = [spawned.Process(target=spend, args=(tmp_path / "b.json", 20)) for _ in range(3)]
    began = time.time()
    spend(tmp_path / "b.json", 10)  # the burst, so that start-up does not count as saving
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    record = json.loads((tmp_path / "b.json").read_bytes())
    # What was there and what came back since is exactly what was spent and what is left, unless the bucket was full.
    assert record["tokens"] + 70 <= 10 + 50 * (record["updated"] - began) + 1e-6


def test_exchanges_and_hosts_have_their_own_buckets(tmp_path: Path) -> None:
    limiter = Limiter(tmp_path / "limits")
    limiter.bucket("binance", "127.0.0.1:9000", 1, 1).ban(100)

    limiter.bucket("binance", "api.binance.com", 1, 1).take()
    with pytest.raises(Overloaded):
        limiter.bucket("binance", "127.0.0.1:9000", 1, 1).take()


def test_a_damaged_file_is_not_taken_for_leave_to_send(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("{]")

    with pytest.raises(BadSetting, match="damaged"):
        bucket(tmp_path, HandClock()).take()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "limits").write_text("a file")

    with pytest.raises(BadSetting, match="cannot be made"):
        Limiter(tmp_path / "limits").bucket("binance", "x", 1, 1)


ASK = """
import sys
from pathlib import Path
from tidewheel.contracts.errors import Overloaded, Unavailable
from tidewheel.market.open import open_exchange
from tidewheel.market.limiter import Limiter

exchange = open_exchange("binance", url=sys.argv[1], limiter=Limiter(Path(sys.argv[2])))
for _ in range(15):
    try:
        exchange.closed_bars("BTC/USDT", "1m", int(sys.argv[3]), limit=10)
    except (Overloaded, Unavailable):
        continue
"""


def test_four_processes_send_nothing_while_one_of_them_is_banned(tmp_path: Path) -> None:
    """A ban that one process meets binds all at once; the simulator counts every request that comes before its end."""
    frame = candles(50)
    clock = VirtualClock(START + 50 * MINUTE)
    faults = Faults.parse("ban=0.1,limit=0.1,pause=0.2")
    engine = RudeExchange(told(("BTC/USDT", "1m", frame)), faults, 1, clock)
    with served(sim_app(engine)) as url:
        arguments = [sys.executable, "-c", ASK, url, str(tmp_path), str(START)]
        processes = [subprocess.Popen(arguments) for _ in range(4)]
        assert [process.wait(120) for process in processes] == [0] * 4

    assert engine.requests > 4 * 15
    assert engine.requests_while_banned == 0


def test_a_stopped_process_does_not_keep_its_turn_for_ever(tmp_path: Path) -> None:
    """Whoever finds the turn taken waits at most MAX_WAIT seconds, and then asks without it."""
    slept: list[float] = []
    first = Bucket(tmp_path / "b.json", 1.0, 1.0)
    second = Bucket(tmp_path / "b.json", 1.0, 1.0, sleep=slept.append)
    with first.turn(), second.turn():
        assert sum(slept) == pytest.approx(MAX_WAIT, abs=0.1)
