"""The last failure of a stream, on both dialects."""

from sqlalchemy import update

from tidewheel.ledger.open import Ledger
from tidewheel.ledger.tables import stream_failures

BTC, ETH = "binance:BTC/USDT:1m", "binance:ethusdt:1m"


def test_failures_in_a_row_are_one_series(ledger: Ledger) -> None:
    """The newest reason stands, with the number of failures and when they began; another stream keeps its own."""
    ledger.failures.note(BTC, "exchange_unavailable", "no answer")
    ledger.failures.note(ETH, "unknown_symbol", "not traded")
    with ledger._db.write() as connection:
        connection.execute(update(stream_failures).values(since=5, failed_at=0))
    ledger.failures.note(BTC, "exchange_refused", "refuses requests for 60 s")
    first, second = ledger.failures.all()

    assert (first.stream, first.code, first.detail) == (BTC, "exchange_refused", "refuses requests for 60 s")
    assert (first.times, first.over_at) == (2, None)
    assert (first.since, first.failed_at > 5) == (5, True)
    assert (second.stream, second.times) == (ETH, 1)


def test_a_success_where_nothing_failed_waits_for_nobody(ledger: Ledger) -> None:
    """It asks before it writes: while another writes the table it is done at once, whatever else is failing."""
    for stream in (BTC, ETH):
        ledger.failures.note(stream, "exchange_unavailable", "no answer")
    ledger.failures.over([BTC])
    with ledger._db.write() as connection:
        if ledger.dialect == "postgresql":
            connection.exec_driver_sql("LOCK TABLE stream_failures IN EXCLUSIVE MODE")
        ledger.failures.over([BTC])
    before, failing = ledger.failures.all()
    assert (before.over_at is None, failing.over_at) == (False, None)
    with ledger._db.write() as connection:
        connection.execute(update(stream_failures).where(stream_failures.c.stream == BTC).values(over_at=5))
    ledger.failures.over([BTC, ETH])
    assert [each.over_at == 5 for each in ledger.failures.all()] == [True, False]


def test_a_success_ends_the_series_and_the_reason_stays(ledger: Ledger) -> None:
    """What is over is still told; the next failure counts from one again, and a success twice changes nothing."""
    ledger.failures.note(BTC, "exchange_unavailable", "no answer")
    ledger.failures.note(BTC, "exchange_unavailable", "no answer")
    ledger.failures.over([BTC, ETH])
    (over,) = ledger.failures.all()
    ledger.failures.over([BTC])
    assert ledger.failures.all() == [over]
    ledger.failures.note(BTC, "bad_candles", "something else")
    (again,) = ledger.failures.all()

    assert over.over_at is not None and over.over_at >= over.failed_at
    assert (over.times, over.detail) == (2, "no answer")
    assert (again.times, again.over_at) == (1, None)
    assert again.since >= over.over_at
