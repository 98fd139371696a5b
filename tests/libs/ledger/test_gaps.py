"""Gaps: each by itself, beside others of the stream and those of another; on both dialects."""

import numpy as np
import pytest
from sqlalchemy import select, update

from tests.libs.ledger.test_archive import candles
from tests.libs.ledger.test_bars import KEY, M
from tidewheel.contracts.errors import Conflict, FenceLost
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import GapState, Origin
from tidewheel.ledger.files import narrow_gap
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Gap, Lease
from tidewheel.ledger.tables import gaps as rows
from tidewheel.ledger.tables import streams

ETH = StreamKey("binance", "ETH/USDT", "1m")
FRAME = candles(30)
HOLEY = FRAME.take(np.r_[0:5, 10:15, 20:25])  #: two holes of five bars
LEFT = {"seen": "left by bars that came late"}


@pytest.fixture
def holes(ledger: Ledger, lease: Lease) -> list[Gap]:
    """Those of one stream, last changed in 1970; another stream has the same."""
    ledger.streams.register(ETH, Origin.SYNTHETIC)
    eth = ledger.leases.acquire(f"stream:{ETH}", "writer", 60_000)
    assert eth is not None
    for right, key in ((lease, KEY), (eth, ETH)):
        ledger.bars.append(right, key, HOLEY, "test")
        ledger.bars.seal(right, key)
    with ledger._db.write() as connection:
        connection.execute(update(rows).values(changed_at=0))
    return ledger.bars.gaps(KEY)


def told(ledger: Ledger) -> list[tuple[int, int, GapState, bool]]:
    """First and last bar + 1, state, and whether it has changed lately."""
    return [(each.start // M, each.end // M, each.state, each.changed_at > 0) for each in ledger.bars.gaps(KEY)]


def test_what_is_found_out_is_of_one_gap(ledger: Ledger, lease: Lease, holes: list[Gap]) -> None:
    """Neither another gap of the stream nor that of another stream is changed; what was known stays known."""
    before = ledger.bars.gaps(ETH)
    ledger.bars.note_gap(lease, holes[0], GapState.CONFIRMED_EMPTY, {"asked": 2})
    assert told(ledger) == [(5, 10, GapState.CONFIRMED_EMPTY, True), (15, 20, GapState.OPEN, False)]
    assert ledger.bars.gaps(KEY)[0].evidence == dict(holes[0].evidence) | {"asked": 2}
    assert ledger.bars.gaps(ETH) == before
    ledger.leases.release(lease)
    with pytest.raises(FenceLost):
        ledger.bars.note_gap(lease, holes[1], GapState.CONFIRMED_EMPTY, {})


def test_late_bars_leave_the_rest_open(ledger: Ledger, lease: Lease, holes: list[Gap]) -> None:
    """A gap that was confirmed empty is not, once a bar of it comes: its parts are asked about anew, oldest first."""
    before = ledger.bars.gaps(ETH)
    ledger.bars.note_gap(lease, holes[0], GapState.CONFIRMED_EMPTY, {"asked": 2})
    with ledger._db.write() as connection:
        connection.execute(update(rows).values(changed_at=0))
    ledger.bars.append(lease, KEY, FRAME.take(slice(7, 8)), "test")
    left = [(5, 7, GapState.OPEN, True), (8, 10, GapState.OPEN, True), (15, 20, GapState.OPEN, False)]
    assert told(ledger) == left
    assert ledger.bars.gaps(KEY)[0].evidence == LEFT

    with ledger._db.write() as connection:
        connection.execute(update(rows).values(changed_at=0))
    first = ledger.bars.gaps(KEY)[0]
    ledger.bars.append(lease, KEY, FRAME.take(slice(5, 7)), "test")
    ledger.bars.note_gap(lease, first, GapState.CONFIRMED_EMPTY, {"asked": 3})
    healed, *others = told(ledger)
    assert healed == (5, 7, GapState.HEALED, True)
    assert others == [(8, 10, GapState.OPEN, False), (15, 20, GapState.OPEN, False)]
    assert ledger.bars.gaps(KEY)[0].evidence == LEFT
    assert ledger.bars.gaps(ETH) == before


@pytest.mark.parametrize("came", [slice(5, 10), slice(5, 6), slice(9, 10)])
def test_a_gap_that_is_no_longer_as_it_was_read(ledger: Ledger, lease: Lease, holes: list[Gap], came: slice) -> None:
    """Whoever counted on it as it was is told so, and writes nothing: what came meanwhile would be missing again."""
    ledger.bars.append(lease, KEY, FRAME.take(came), "test")
    before = ledger.bars.gaps(KEY)
    for times in (FRAME.open_time[7:8], FRAME.open_time[5:10]):
        with pytest.raises(Conflict) as refused, ledger._db.write() as connection:
            stream = connection.execute(select(streams.c.id).where(streams.c.key == str(KEY))).scalar_one()
            narrow_gap(connection, stream, holes[0], times, 0)
        assert refused.value.code == "gap_moved"
    assert ledger.bars.gaps(KEY) == before
