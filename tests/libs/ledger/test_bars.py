"""Bars: append, seal, read; on both dialects."""

import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.libs.ledger.test_archive import candles
from tidewheel.contracts.errors import BadCandles, Conflict, FenceLost, NotFound, TidewheelError
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import GapState, Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Lease

KEY = StreamKey("binance", "BTC/USDT", "1m")
M = KEY.step


def same(left: CandleFrame, right: CandleFrame) -> bool:
    return np.array_equal(left.open_time, right.open_time) and np.array_equal(left.matrix(), right.matrix())


def repriced(frame: CandleFrame, by: float) -> CandleFrame:
    return replace(
        frame, open=frame.open + by, high=frame.high + by, low=frame.low + by, close=frame.close + by
    ).checked()


def tick(ledger: Ledger) -> int:
    """The ledger's clock, with nothing else in this millisecond or the next."""
    now = ledger.now()
    while ledger.now() <= now + 1:
        time.sleep(0.001)
    return now


def test_stream_keeps_its_origin(ledger: Ledger) -> None:
    """A stream is registered once; another origin is refused and named."""
    first = ledger.streams.register(KEY, Origin.EXCHANGE)

    assert ledger.streams.register(KEY, Origin.EXCHANGE) == first
    with pytest.raises(Conflict, match="synthetic") as refused:
        ledger.streams.register(KEY, Origin.SYNTHETIC)
    assert refused.value.code == "origin_mismatch"
    assert [stream.key for stream in ledger.streams.all()] == [KEY]
    assert ledger.streams.get(StreamKey("binance", "ETH/USDT", "1m")) is None


def test_a_stream_beside_another_has_its_own_origin(ledger: Ledger) -> None:
    """What another stream's bars come from decides nothing."""
    ledger.streams.register(StreamKey("binance", "ETH/USDT", "1m"), Origin.SYNTHETIC)
    for _ in range(2):
        stream = ledger.streams.register(KEY, Origin.EXCHANGE)
        assert (stream.key, stream.origin) == (KEY, Origin.EXCHANGE)
    assert [each.origin for each in ledger.streams.all()] == [Origin.EXCHANGE, Origin.SYNTHETIC]


def test_append_then_seal_then_read(ledger: Ledger, lease: Lease, data_dir: Path) -> None:
    """Sealing moves the bars into CSV and blob, the watermark behind the last one, and changes no answer."""
    frame = candles(100)
    assert ledger.bars.append(lease, KEY, frame, "test").stored == 100
    before = ledger.streams.get(KEY)
    assert before is not None
    assert (before.watermark, before.tail_bars, before.sealed_bars, before.next_open) == (None, 100, 0, 100 * M)
    assert same(ledger.bars.read(KEY), frame)

    sealed = ledger.bars.seal(lease, KEY)

    assert sealed is not None
    assert (sealed.start, sealed.end, sealed.bars, sealed.revision, sealed.source) == (0, 100 * M, 100, 0, "test")
    assert (data_dir / sealed.csv_path).is_file()
    assert (data_dir / sealed.blob_path).is_file()
    after = ledger.streams.get(KEY)
    assert after is not None
    assert (after.watermark, after.tail_bars, after.sealed_bars, after.files) == (100 * M, 0, 100, 1)
    assert (after.first_open, after.next_open, after.tail_since) == (0, 100 * M, None)
    assert same(ledger.bars.read(KEY), frame)
    assert same(ledger.bars.read(KEY, 10 * M, 20 * M), frame.take(slice(10, 20)))
    assert ledger.bars.files() == [sealed] == ledger.bars.files(KEY)
    assert ledger.bars.seal(lease, KEY) is None


def test_seal_upto_leaves_the_rest_waiting(ledger: Ledger, lease: Lease) -> None:
    """`upto` seals the older bars only; the next seal goes on from there."""
    frame = candles(50)
    ledger.bars.append(lease, KEY, frame, "test")

    first = ledger.bars.seal(lease, KEY, upto=20 * M)
    second = ledger.bars.seal(lease, KEY)

    assert first is not None and second is not None
    assert (first.end, second.start, second.end) == (20 * M, 20 * M, 50 * M)
    assert same(ledger.bars.read(KEY), frame)


def test_duplicates_are_dropped_in_tail_and_files(ledger: Ledger, lease: Lease) -> None:
    """Bars that are known with the same values are counted and written nowhere, sealed or not."""
    frame = candles(30)
    ledger.bars.append(lease, KEY, frame.take(slice(0, 20)), "test")
    overlapping = ledger.bars.append(lease, KEY, frame.take(slice(10, 25)), "test")
    ledger.bars.seal(lease, KEY)
    again = ledger.bars.append(lease, KEY, frame, "test")

    assert (overlapping.stored, overlapping.duplicates, overlapping.revised) == (5, 10, 0)
    assert (again.stored, again.duplicates, again.revised) == (5, 25, 0)
    assert same(ledger.bars.read(KEY), frame)
    assert len(ledger.bars.files(KEY)) == 1


@pytest.mark.parametrize("sealed", [False, True])
def test_corrected_bar_is_a_new_revision(ledger: Ledger, lease: Lease, sealed: bool) -> None:
    """A bar with other values is told in its newest revision now, and as of before in the one known then."""
    frame = candles(10)
    ledger.bars.append(lease, KEY, frame, "test")
    if sealed:
        ledger.bars.seal(lease, KEY)
    before = tick(ledger)

    once = repriced(frame.take(slice(4, 6)), 1.0)
    assert ledger.bars.append(lease, KEY, once, "test").revised == 2
    between = tick(ledger)
    assert ledger.bars.append(lease, KEY, frame.take(slice(4, 5)), "test").revised == 1
    ledger.bars.seal(lease, KEY)

    now = ledger.bars.read(KEY)
    assert now.revision.tolist() == [0, 0, 0, 0, 2, 1, 0, 0, 0, 0]
    assert now.close[4] == frame.close[4] and now.close[5] == once.close[1]
    assert now.available_at[5] > before
    assert same(ledger.bars.read(KEY, as_of=before), frame)
    assert ledger.bars.read(KEY, as_of=between).close[4] == once.close[0]
    assert {file.revision for file in ledger.bars.files(KEY)} == {0, 1, 2}


def test_as_of_survives_the_seal(ledger: Ledger, lease: Lease) -> None:
    """What was known at a time stays the same answer when later bars are sealed into the same file."""
    frame = candles(20)
    nothing = tick(ledger)
    ledger.bars.append(lease, KEY, frame.take(slice(0, 7)), "test")
    some = tick(ledger)
    ledger.bars.append(lease, KEY, frame.take(slice(7, 20)), "test")
    ledger.bars.seal(lease, KEY)

    assert len(ledger.bars.read(KEY, as_of=nothing)) == 0
    assert same(ledger.bars.read(KEY, as_of=some), frame.take(slice(0, 7)))
    assert same(ledger.bars.read(KEY, as_of=ledger.now()), frame)


def test_gap_never_blocks_and_heals(ledger: Ledger, lease: Lease) -> None:
    """The watermark passes a hole, which is noted, and healed once all of its bars have come."""
    frame = candles(30)
    holey = frame.take(np.r_[0:10, 13:30])
    ledger.bars.append(lease, KEY, holey, "test")
    ledger.bars.seal(lease, KEY)

    assert [(gap.start, gap.end, gap.state) for gap in ledger.bars.gaps(KEY)] == [(10 * M, 13 * M, GapState.OPEN)]
    stream = ledger.streams.get(KEY)
    assert stream is not None and (stream.watermark, stream.gaps_open) == (30 * M, 1)

    ledger.bars.append(lease, KEY, frame.take(slice(10, 12)), "test")
    assert ledger.bars.gaps(KEY)[0].state is GapState.OPEN
    late = ledger.bars.append(lease, KEY, frame.take(slice(9, 14)), "test")
    assert (late.stored, late.duplicates, late.revised) == (1, 4, 0)
    assert ledger.bars.gaps(KEY)[0].state is GapState.HEALED
    assert same(ledger.bars.read(KEY), frame)


def test_gap_between_two_files_is_noted_and_filled_by_a_first_revision(ledger: Ledger, lease: Lease) -> None:
    """A hole that no file spans is filled by a file of first revisions, beside the others."""
    frame = candles(30)
    for part in (slice(0, 10), slice(15, 30)):
        ledger.bars.append(lease, KEY, frame.take(part), "test")
        ledger.bars.seal(lease, KEY)
    assert [(gap.start, gap.end) for gap in ledger.bars.gaps(KEY)] == [(10 * M, 15 * M)]

    ledger.bars.append(lease, KEY, frame.take(slice(8, 20)), "test")

    assert [(file.start, file.end, file.revision) for file in ledger.bars.files(KEY)] == [
        (0, 10 * M, 0),
        (15 * M, 30 * M, 0),
        (10 * M, 15 * M, 0),
    ]
    assert ledger.bars.gaps(KEY)[0].state is GapState.HEALED
    assert same(ledger.bars.read(KEY), frame)


@pytest.mark.parametrize("seed", [1, 2])
def test_gaps_are_what_is_missing_whatever_comes_in_what_order(ledger: Ledger, lease: Lease, seed: int) -> None:
    """After each append and seal the unhealed gaps are exactly the bars missing below the watermark."""
    rng, frame = np.random.default_rng(seed), candles(60)
    for _ in range(12):
        low = int(rng.integers(0, 55))
        some = low + np.flatnonzero(rng.random(min(15, 60 - low)) < 0.7)
        ledger.bars.append(lease, KEY, frame.take(some), "test")
        ledger.bars.seal(lease, KEY)
        stream = ledger.streams.get(KEY)
        assert stream is not None and stream.watermark is not None
        known = set(ledger.bars.read(KEY).open_time.tolist())
        told = [
            time
            for gap in ledger.bars.gaps(KEY)
            if gap.state is not GapState.HEALED
            for time in range(gap.start, gap.end, M)
        ]
        assert sorted(told) == [time for time in range(min(known), stream.watermark, M) if time not in known]


def test_backfill_of_older_bars(ledger: Ledger, lease: Lease) -> None:
    """Bars from before the first file become first revisions; the hole up to it is noted, the watermark stays."""
    frame = candles(60)
    ledger.bars.append(lease, KEY, frame.take(slice(40, 60)), "test")
    ledger.bars.seal(lease, KEY)

    ledger.bars.append(lease, KEY, frame.take(slice(10, 20)), "test")
    ledger.bars.append(lease, KEY, frame.take(slice(20, 40)), "test")

    stream = ledger.streams.get(KEY)
    assert stream is not None
    assert (stream.first_open, stream.watermark, stream.sealed_bars, stream.gaps_open) == (10 * M, 60 * M, 50, 0)
    assert same(ledger.bars.read(KEY), frame.take(slice(10, 60)))


def test_zombie_writes_nothing(ledger: Ledger, lease: Lease) -> None:
    """A writer whose lease was taken over neither appends nor seals, and its successor does both."""
    frame = candles(20)
    ledger.bars.append(lease, KEY, frame.take(slice(0, 10)), "test")
    ledger.leases.release(lease)
    successor = ledger.leases.acquire(f"stream:{KEY}", "successor", 60_000)
    assert successor is not None

    with pytest.raises(FenceLost):
        ledger.bars.append(lease, KEY, frame.take(slice(10, 20)), "zombie")
    with pytest.raises(FenceLost):
        ledger.bars.seal(lease, KEY)

    assert ledger.bars.files(KEY) == []
    assert len(ledger.bars.read(KEY)) == 10
    assert ledger.bars.seal(successor, KEY) is not None  # over the zombie's orphaned files


def test_lease_of_another_stream_gives_no_right(ledger: Ledger, lease: Lease) -> None:
    """Only the stream's own lease is a right to write it."""
    other = StreamKey("binance", "ETH/USDT", "1m")
    ledger.streams.register(other, Origin.SYNTHETIC)
    with pytest.raises(FenceLost):
        ledger.bars.append(lease, other, candles(3), "test")


def test_sealers_race_and_one_wins(ledger: Ledger, lease: Lease) -> None:
    """Threads that append and seal with one lease leave disjoint files and every bar once."""
    frame = candles(400)
    failures: list[TidewheelError] = []

    def write(part: int) -> None:
        try:
            ledger.bars.append(lease, KEY, frame.take(slice(part * 50, part * 50 + 50)), "test")
            ledger.bars.seal(lease, KEY)
        except Conflict as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for part in range(8):  # what lost a race is told so, and done again
        ledger.bars.append(lease, KEY, frame.take(slice(part * 50, part * 50 + 50)), "test")
    ledger.bars.seal(lease, KEY)

    assert {error.code for error in failures} <= {"tail_moved", "watermark_moved", "files_overlap", "gap_moved"}
    first = sorted((file.start, file.end) for file in ledger.bars.files(KEY) if file.revision == 0)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(first))
    assert same(ledger.bars.read(KEY), frame)


def test_bad_bars_are_refused_whole(ledger: Ledger, lease: Lease) -> None:
    """One impossible bar, another timeframe or an unknown stream stores nothing."""
    broken = candles(10)
    broken.high[5] = np.nan
    with pytest.raises(BadCandles, match="not a finite number"):
        ledger.bars.append(lease, KEY, broken, "test")
    with pytest.raises(BadCandles, match="300000 ms"):
        ledger.bars.append(lease, KEY, CandleFrame.empty(300_000), "test")
    with pytest.raises(NotFound, match="DOGE"):
        ledger.bars.read(StreamKey("binance", "DOGE/USDT", "1m"))
    assert len(ledger.bars.read(KEY)) == 0


def test_last_finds_bars_over_gaps_and_seals(ledger: Ledger, lease: Lease) -> None:
    """`last` gives the newest n bars wherever they lie, and all of them where there are fewer."""
    frame = candles(301)
    assert len(ledger.bars.last(KEY, 5)) == 0
    ledger.bars.append(lease, KEY, frame.take(np.r_[0:50, 200:250]), "test")
    assert same(ledger.bars.last(KEY, 60), frame.take(np.r_[40:50, 200:250]))
    ledger.bars.seal(lease, KEY)
    ledger.bars.append(lease, KEY, frame.take(slice(290, 300)), "test")

    assert same(ledger.bars.last(KEY, 3), frame.take(slice(297, 300)))
    assert same(ledger.bars.last(KEY, 70), frame.take(np.r_[40:50, 200:250, 290:300]))
    assert len(ledger.bars.last(KEY, 1000)) == 110
    ledger.bars.seal(lease, KEY)
    ledger.bars.append(lease, KEY, frame.take(slice(300, 301)), "test")
    assert same(ledger.bars.last(KEY, 1), frame.take(slice(300, 301)))
    assert same(ledger.bars.last(KEY, 70), frame.take(np.r_[41:50, 200:250, 290:301]))


def test_regime_state_only_moves_forward(ledger: Ledger, lease: Lease) -> None:
    """The newest bar's regime stays; the same bar may be told again, an older one may not."""
    assert ledger.regimes.get(KEY) is None
    assert ledger.regimes.upsert(KEY, 5 * M, {"bull": 0.7, "bear": 0.2, "chop": 0.1}, "bull", "v1")
    assert not ledger.regimes.upsert(KEY, 4 * M, {"bull": 0.1, "bear": 0.8, "chop": 0.1}, "bear", "v1")
    assert ledger.regimes.upsert(KEY, 5 * M, {"bull": 0.6, "bear": 0.3, "chop": 0.1}, "bull", "v2")

    state = ledger.regimes.get(KEY)
    assert state is not None and (state.data_time, state.state, state.version) == (5 * M, "bull", "v2")
    assert state.probs == {"bull": 0.6, "bear": 0.3, "chop": 0.1}
    assert ledger.regimes.all() == [state]
    assert ledger.regimes.upsert(KEY, 7 * M, {"bull": 1.0}, "bull", "v2")
    assert not ledger.regimes.upsert(KEY, 6 * M, {"bull": 1.0}, "bull", "v2")
