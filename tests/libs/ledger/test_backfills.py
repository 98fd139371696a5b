"""Backfills beside other ones, of the same stream and of another; on both dialects."""

import secrets
from typing import Any

import pytest
from sqlalchemy import update

from tidewheel.contracts.errors import FenceLost, NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import BackfillState, Origin
from tidewheel.ledger.backfills import lease_name
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Backfill, Lease
from tidewheel.ledger.tables import backfills as rows
from tidewheel.ledger.tables import leases

TTL = 60_000
BTC, ETH = StreamKey("binance", "BTC/USDT", "1m"), StreamKey("binance", "ETH/USDT", "1m")
ORDERS = [(BTC, 0, 600), (BTC, 0, 900), (BTC, 300, 600), (ETH, 0, 600)]  #: each has something in common with the first


@pytest.fixture
def ordered(ledger: Ledger) -> list[Backfill]:
    """The four orders, an hour ago; their hints are sent."""
    for key in (ETH, BTC):
        ledger.streams.register(key, Origin.SYNTHETIC)
    made = [ledger.backfills.start(*order) for order in ORDERS]
    assert [event.payload["backfill_id"] for event in ledger.outbox.pending()] == [each.id for each in made]
    ledger.outbox.sent([event.id for event in ledger.outbox.pending()])
    long_ago(ledger)
    return [ledger.backfills.get(each.id) for each in made]


def long_ago(ledger: Ledger) -> None:
    """Nothing has changed since 1970."""
    with ledger._db.write() as connection:
        connection.execute(update(rows).values(changed_at=0))


def right(ledger: Ledger, backfill: Backfill) -> Lease:
    lease = ledger.leases.acquire(lease_name(backfill.id), "worker", TTL)
    assert lease is not None
    return lease


def told(ledger: Ledger, *backfills: Backfill) -> list[tuple[Any, ...]]:
    """What they say of themselves, and whether they have changed lately."""
    found = [ledger.backfills.get(each.id) for each in backfills]
    return [(each.state, each.cursor, each.fetched, each.reason, each.changed_at > 0) for each in found]


def test_one_row_for_each_stream_and_interval(ledger: Ledger, ordered: list[Backfill]) -> None:
    """What is asked for twice is the same one, without another hint; the lists have the newest first."""
    assert [(each.key, each.start, each.end) for each in ordered] == ORDERS
    assert [ledger.backfills.start(*order) for order in ORDERS] == ordered
    assert ledger.outbox.pending() == []
    assert ledger.backfills.list() == ordered[::-1]
    assert ledger.backfills.list(limit=1) == ordered[-1:]
    assert ledger.backfills.of(BTC) == ordered[2::-1]
    assert ledger.backfills.of(ETH) == ordered[3:]
    with pytest.raises(NotFound, match="no backfill 9"):
        ledger.backfills.get(9)


def test_what_was_stopped_goes_on_and_nothing_else(ledger: Ledger, ordered: list[Backfill]) -> None:
    """Asked for again, a failed or cancelled one runs from its cursor, with a hint; the others stay as they are."""
    first, *others = ordered
    lease = right(ledger, first)
    ledger.backfills.advance(lease, first.id, 60, 1)
    ledger.backfills.note(lease, first.id, "no such symbol", failed=True)
    for each in others:
        assert ledger.backfills.cancel(each.id, "desk").state is BackfillState.CANCELLED
    long_ago(ledger)
    stopped = [ledger.backfills.get(each.id) for each in others]
    assert told(ledger, first) == [(BackfillState.FAILED, 60, 1, "no such symbol", False)]

    again = ledger.backfills.start(*ORDERS[0])

    assert told(ledger, first) == [(BackfillState.RUNNING, 60, 1, None, True)]
    assert again == ledger.backfills.get(first.id)
    assert [event.payload for event in ledger.outbox.pending()] == [{"backfill_id": first.id}]
    assert [ledger.backfills.get(each.id) for each in others] == stopped
    assert ledger.backfills.start(*ORDERS[3]).state is BackfillState.RUNNING


def test_a_page_is_noted_where_it_belongs(ledger: Ledger, ordered: list[Backfill]) -> None:
    """Cursor and count move, the end is done for good, a reason is gone with the next page; others stay."""
    first, *others = ordered
    lease, before = right(ledger, first), told(ledger, *others)
    ledger.backfills.note(lease, first.id, "refused for 60 s", failed=False)
    assert told(ledger, first) == [(BackfillState.RUNNING, 0, 0, "refused for 60 s", True)]
    assert ledger.backfills.advance(lease, first.id, 300, 5) == ledger.backfills.get(first.id)
    assert told(ledger, first) == [(BackfillState.RUNNING, 300, 5, None, True)]
    ledger.backfills.advance(lease, first.id, 600, 4)
    long_ago(ledger)
    ledger.backfills.cancel(first.id, "desk")
    ledger.backfills.start(*ORDERS[0])
    assert told(ledger, first) == [(BackfillState.DONE, 600, 9, None, False)]
    assert told(ledger, *others) == before


def test_who_lost_the_right_notes_nothing(ledger: Ledger, ordered: list[Backfill]) -> None:
    """Neither a page nor a failure; and a page that comes after a cancel changes nothing."""
    first = ordered[0]
    lease = right(ledger, first)
    ledger.backfills.cancel(first.id, "desk")
    ledger.backfills.advance(lease, first.id, 300, 5)
    assert told(ledger, first) == [(BackfillState.CANCELLED, 0, 0, "cancelled by desk", True)]
    ledger.leases.release(lease)
    with pytest.raises(FenceLost):
        ledger.backfills.advance(lease, first.id, 300, 5)
    with pytest.raises(FenceLost):
        ledger.backfills.note(lease, first.id, "x", failed=True)


def test_those_that_nobody_works_on(ledger: Ledger, ordered: list[Backfill]) -> None:
    """Running ones without a lease, with one that has ended, or with a dead holder, in the order of asking."""
    nobody, ended, worked_on, dead = ordered
    right(ledger, worked_on)
    ledger.leases.release(right(ledger, ended))
    right(ledger, dead)
    with ledger._db.write() as connection:
        gone = update(leases).where(leases.c.name == lease_name(dead.id))
        connection.execute(gone.values(pulse=secrets.randbits(62) + 1))
        connection.execute(update(rows).where(rows.c.id == nobody.id).values(changed_at=1))
    found = ledger.backfills.stale()
    assert [(each.id, each.key) for each in found] == [(each.id, each.key) for each in (nobody, ended, dead)]
    ledger.backfills.cancel(nobody.id, "desk")
    ledger.backfills.hint(dead.id)
    assert [each.id for each in ledger.backfills.stale()] == [ended.id, dead.id]
    assert [event.payload for event in ledger.outbox.pending()] == [{"backfill_id": dead.id}]
