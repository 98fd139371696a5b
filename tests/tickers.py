"""Daily tickers in a ledger, as an import leaves them, without its files."""

from collections.abc import Mapping
from functools import cache

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger
from tidewheel.market.sim.dips import DipsMarket, dips_market

EXCHANGE = "stocks"


@cache
def market() -> DipsMarket:
    """AAPL, MSFT, GOOGL, TSLA and AMD as they are made by default, made once; nobody writes into them."""
    return dips_market()


def stock(
    ledger: Ledger,
    frames: Mapping[str, CandleFrame],
    *,
    exchange: str = EXCHANGE,
    origin: Origin = Origin.SYNTHETIC,
) -> list[StreamKey]:
    """Append and seal the bars of each ticker; the streams, in the order of the tickers given."""
    keys = [StreamKey(exchange, ticker, "1d") for ticker in frames]
    for key, frame in zip(keys, frames.values(), strict=True):
        with ledger.leases.hold(f"stream:{key}", "tests", 60_000) as held:
            ledger.streams.register(key, origin)
            ledger.bars.append(held.lease, key, frame, f"import:{key.symbol}.csv")
            ledger.bars.seal(held.lease, key)
    return keys
