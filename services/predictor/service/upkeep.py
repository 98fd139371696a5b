"""What a predictor does beside answering: it writes nowcasts, tells what it serves, and listens for news."""

import threading
from collections.abc import Callable
from contextlib import suppress

from services.predictor.service.regimes import LiveRegime, Serving, nowcast
from tidewheel.contracts.errors import NotEnoughData, TidewheelError
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.messages import Channels
from tidewheel.contracts.roles import Role
from tidewheel.contracts.times import UtcMillis
from tidewheel.kit.bus import Bus, Subscription
from tidewheel.ledger.open import Ledger


class Nowcasts:
    """Writes the regime of each stream into the ledger as soon as it has new bars or the model flipped."""

    def __init__(self, ledger: Ledger, live: LiveRegime, nowcast_bars: int) -> None:
        self._ledger, self._live, self._bars = ledger, live, nowcast_bars
        self._done: dict[StreamKey, tuple[UtcMillis, str]] = {}  # newest bar's end and version of what is written

    def write(self) -> int:
        """One round over all streams of the model's timeframe; how many regimes were written."""
        serving = self._live.get()
        if serving is None:
            return 0
        written = 0
        for stream in self._ledger.streams.all():
            if stream.next_open is None or stream.key.step != serving.model.step:
                continue
            mark = (stream.next_open, serving.version)
            if self._done.get(stream.key) != mark:
                written += self._write(stream.key, serving)
                self._done[stream.key] = mark
        return written

    def _write(self, key: StreamKey, serving: Serving) -> bool:
        frame = self._ledger.bars.last(key, self._bars)
        try:
            regime, _ = nowcast(serving.model, frame, key)
        except NotEnoughData:
            return False  # a young stream, or one just after a gap; the next bars bring it round
        data_time = int(frame.open_time[-1])
        return self._ledger.regimes.upsert(key, data_time, regime.probs, regime.state, serving.version)


class Heartbeat:
    """Tells the ledger what this replica serves."""

    def __init__(self, ledger: Ledger, live: LiveRegime, instance: str) -> None:
        self._ledger, self._live, self._instance = ledger, live, instance

    def beat(self) -> None:
        """One sign of life."""
        serving = self._live.get()
        loaded = serving.version if serving else None
        self._ledger.replicas.beat(self._instance, Role.PREDICTOR, self._live.family, loaded, self._live.error)

    def leave(self) -> None:
        """The last sign, of an orderly end: who is silent without it was killed, or hangs."""
        with suppress(TidewheelError):  # without the ledger it is taken for killed, which holds nobody's end up
            self._ledger.replicas.leave(self._instance)


class Listener:
    """Hears of flips and new candles on the bus and wakes whom it concerns; without the bus they poll."""

    def __init__(self, bus: Bus, family: str, *, flipped: Callable[[], None], stored: Callable[[], None]) -> None:
        self._models = Channels.models(family)
        self._subscription: Subscription = bus.subscribe(self._models, Channels.candles("*"))
        self._flipped, self._stored = flipped, stored
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def start(self) -> None:
        """Begin listening."""
        self._thread.start()

    def stop(self) -> None:
        """End within a second."""
        self._subscription.close()
        self._thread.join()

    def _listen(self) -> None:
        for told in self._subscription:
            (self._flipped if told.channel == self._models else self._stored)()
