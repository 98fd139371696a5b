"""Fixtures of the ledger's tests."""

import pytest

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Lease


@pytest.fixture
def lease(ledger: Ledger) -> Lease:
    """The right to write the registered stream binance:BTC/USDT:1m."""
    key = StreamKey("binance", "BTC/USDT", "1m")
    ledger.streams.register(key, Origin.SYNTHETIC)
    lease = ledger.leases.acquire(f"stream:{key}", "writer", 60_000)
    assert lease is not None
    return lease
