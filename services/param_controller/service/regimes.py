"""The market's regime as a decision may use it: of the instrument's stream, and of now."""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import STALE_BARS, UtcMillis
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import RegimeState, Stream

_KEPT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Known:
    """A regime and where it was read."""

    probs: Mapping[str, float]
    stream: str
    data_time: UtcMillis  #: open time of the newest bar that it has seen
    model_version: str


class CurrentRegimes:
    """Finds the regime of an instrument by the symbol of a stream; one that is stale is not found.

    The ledger is asked at most once a second. Safe for threads.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._read_at, self._known = -_KEPT_SECONDS, dict[str, Known]()

    def of(self, instrument: str) -> Known | None:
        """The freshest regime of the streams that bear the instrument's name: `BTC/USDT`, `BTCUSDT`,
        `binance:BTC/USDT` or `binance:BTC/USDT:1m`; None where there is none, or only stale ones.

        Raises:
            Unavailable: the ledger is away.
        """
        with self._lock:
            if time.monotonic() - self._read_at >= _KEPT_SECONDS:
                self._known = self._read()
                self._read_at = time.monotonic()
            return self._known.get(_plain(instrument))

    def _read(self) -> dict[str, Known]:
        regimes = self._ledger.regimes.all()
        if not regimes:
            return {}
        streams = self._ledger.streams.all()
        now = self._ledger.now()
        origins = {stream.key: stream.origin for stream in streams}
        fresh = [
            regime
            for regime in regimes
            if _reached(regime.key, origins[regime.key], streams, now) - _end(regime) <= STALE_BARS * regime.key.step
        ]
        found: dict[str, Known] = {}
        # The freshest comes last and stays; of equally fresh ones that with the shortest bars.
        for regime in sorted(fresh, key=lambda each: (_end(each), -each.key.step, each.key)):
            known = Known(regime.probs, str(regime.key), regime.data_time, regime.version)
            found |= dict.fromkeys(map(_plain, _names(regime.key)), known)
        return found


def _end(regime: RegimeState) -> UtcMillis:
    return regime.data_time + regime.key.step


def _reached(key: StreamKey, origin: Origin, streams: Iterable[Stream], now: UtcMillis) -> UtcMillis:
    """The latest time that the stream's exchange is known to have reached.

    A replayed or synthetic exchange has a clock of its own, of which only its bars tell; a real one keeps ours.
    """
    if origin is Origin.EXCHANGE:
        return now
    return max(stream.next_open or 0 for stream in streams if stream.key.exchange == key.exchange)


def _names(key: StreamKey) -> Iterable[str]:
    return key.symbol, f"{key.exchange}:{key.symbol}", str(key)


def _plain(name: str) -> str:
    """`BTC/USDT` and `btcusdt` are one instrument."""
    return "".join(each for each in name.upper() if each.isalnum())
