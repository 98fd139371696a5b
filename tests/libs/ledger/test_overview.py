"""What a stream's candles, files and gaps add up to, beside another stream; on both dialects."""

import time

import numpy as np
import pytest
from sqlalchemy import insert, select, update

from tests.libs.ledger.rows import seal
from tests.libs.ledger.test_archive import candles
from tests.libs.ledger.test_bars import KEY, M, repriced, same
from tidewheel.contracts.errors import Conflict
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import GapState, Origin, Scope
from tidewheel.ledger.archive import Stored
from tidewheel.ledger.files import insert_file
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.recorded import Recorded
from tidewheel.ledger.records import Lease
from tidewheel.ledger.tables import gaps, regime_state

ETH = StreamKey("binance", "ETH/USDT", "1m")


@pytest.fixture
def eth(ledger: Ledger) -> Lease:
    """The right to write a stream that is registered before the other."""
    ledger.streams.register(ETH, Origin.SYNTHETIC)
    lease = ledger.leases.acquire(f"stream:{ETH}", "writer", 60_000)
    assert lease is not None
    return lease


def test_each_stream_by_itself(ledger: Ledger, eth: Lease, lease: Lease) -> None:
    """Waiting and sealed bars, files and gaps are counted for each stream; corrections are no further bars."""
    frame = candles(40)
    for part in (np.r_[0:4], np.r_[4:10, 13:30]):
        ledger.bars.append(lease, KEY, frame.take(part), "test")
        ledger.bars.seal(lease, KEY)
    ledger.bars.append(lease, KEY, repriced(frame.take(slice(5, 6)), 1.0), "test")
    ledger.bars.append(lease, KEY, frame.take(slice(30, 40)), "test")
    ledger.bars.append(lease, KEY, repriced(frame.take(slice(39, 40)), 1.0), "test")
    ledger.bars.append(eth, ETH, frame.take(slice(20, 25)), "test")
    with ledger._db.write() as connection:
        row = connection.execute(select(gaps)).one()._asdict()
        for number, state in enumerate(4 * [GapState.HEALED] + 2 * [GapState.CONFIRMED_EMPTY], start=100):
            connection.execute(insert(gaps).values(row | {"id": number, "state": state}))

    assert [file.key for file in ledger.bars.files(KEY)] == [KEY, KEY, KEY]
    assert ledger.bars.files(ETH) == []
    assert same(ledger.bars.read(ETH), frame.take(slice(20, 25)))
    assert ledger.bars.read(KEY).open_time.tolist() == frame.take(np.r_[0:10, 13:40]).open_time.tolist()
    first, second = ledger.streams.all()
    assert [ledger.streams.get(KEY), ledger.streams.get(ETH)] == [first, second]
    assert [ledger.streams.register(key, Origin.SYNTHETIC) for key in (KEY, ETH)] == [first, second]
    assert (first.key, first.watermark, first.first_open, first.next_open) == (KEY, 30 * M, 0, 40 * M)
    assert (first.tail_bars, first.sealed_bars, first.files) == (10, 27, 3)
    assert (first.gaps_open, first.gaps_confirmed, first.gaps_healed) == (1, 2, 4)
    assert (second.key, second.watermark, second.first_open, second.next_open) == (ETH, None, 20 * M, 25 * M)
    assert (second.tail_bars, second.sealed_bars, second.files) == (5, 0, 0)
    assert (second.gaps_open, second.gaps_confirmed, second.gaps_healed) == (0, 0, 0)


def test_the_one_bar_behind_the_watermark(ledger: Ledger, eth: Lease) -> None:
    """A bar that opens at the watermark waits like any other."""
    frame = candles(6)
    ledger.bars.append(eth, ETH, frame.take(slice(0, 5)), "test")
    ledger.bars.seal(eth, ETH)
    sealed = ledger.streams.get(ETH)
    assert sealed is not None
    assert (sealed.tail_bars, sealed.tail_since, sealed.next_open) == (0, None, 5 * M)
    ledger.bars.append(eth, ETH, frame.take(slice(5, 6)), "test")
    waiting = ledger.streams.get(ETH)
    assert waiting is not None
    assert (waiting.tail_bars, waiting.tail_since is None, waiting.next_open) == (1, False, 6 * M)


def test_a_file_may_overlap_other_streams_alone(ledger: Ledger) -> None:
    """A first revision over bars that a file of the stream covers is refused, and one beside it is not."""
    seal(ledger, range(1, 2))
    seal(ledger, range(3), stream=str(ETH))
    seal(ledger, range(3), revision=1)
    stored = Stored(digest="0" * 64, csv_path="x.csv", blob_path="x.parquet")
    with ledger._db.write() as connection:
        stream = connection.exec_driver_sql("SELECT id FROM streams WHERE key = 'binance:BTC/USDT:1m'").scalar_one()
        beside, over = (Recorded.at(candles(61).take(part), 0) for part in (slice(0, 60), slice(60, 61)))
        insert_file(connection, stream, beside, stored, "test", 0)
        with pytest.raises(Conflict) as refused:
            insert_file(connection, stream, over, stored, "test", 0)
    assert refused.value.code == "files_overlap"


def test_lists_have_an_order(ledger: Ledger, eth: Lease, lease: Lease) -> None:
    """Regimes and failures come by stream, API keys by age, whenever they were written."""
    for key in (ETH, KEY):
        ledger.regimes.upsert(key, 0, {"bull": 1.0}, "bull", "v1")
        ledger.failures.note(str(key), "exchange_unavailable", "no answer")
    assert [each.key for each in ledger.regimes.all()] == [KEY, ETH]
    with ledger._db.write() as connection:  # on Postgres what was changed last lies last
        connection.execute(update(regime_state).values(changed_at=0))
        connection.execute(update(regime_state).where(regime_state.c.state == "bull").values(data_time=0))
    ledger.regimes.upsert(KEY, M, {"bear": 1.0}, "bear", "v2")
    told = [(each.state, each.version, each.changed_at > 0) for key in (KEY, ETH) if (each := ledger.regimes.get(key))]
    assert told == [("bear", "v2", True), ("bull", "v1", False)]
    assert [each.stream for each in ledger.failures.all()] == [str(KEY), str(ETH)]
    made = []
    for _ in range(4):
        made.append(ledger.keys.create([Scope.READ], "desk")[0].id)
        time.sleep(0.003)
    assert [each.id for each in ledger.keys.all()] == made
