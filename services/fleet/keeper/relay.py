"""Sending what the ledger has decided: the outbox after its commit, and hints that nobody followed."""

import math
import time
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

from pydantic import ValidationError

from tidewheel.contracts.keys import PairKey, StreamKey
from tidewheel.contracts.messages import (
    Channels,
    IngestBackfill,
    LearnSettle,
    Message,
    ScorePredictions,
    TrainRun,
    message_type,
)
from tidewheel.contracts.states import RunState
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Event

Key = TypeVar("Key", bound=Hashable)

BUS_PREFIX = "bus:"
_FLIPS = Channels.models("")
_log = logger(__name__)


class Sends(Protocol):
    """Where task messages go."""

    def send(self, message: Message) -> str:
        """Send; Unavailable when the broker is away."""


class Publishes(Protocol):
    """Where bus events go."""

    def publish(self, channel: str, event: dict[str, object]) -> None:
        """Publish; Unavailable when the bus is away."""


class OutboxRelay:
    """Sends outbox events in order. A broker that is away only delays them: what was not sent stays pending.

    `follow(family)` makes `current` follow the ledger, and raises nothing: a link that cannot be moved holds up no
    hint. It is called before a flip is told: a reader that looked sooner would still find the old version, and look
    again only at its next poll.
    """

    def __init__(self, ledger: Ledger, sender: Sends, bus: Publishes, follow: Callable[[str], object]) -> None:
        self._ledger, self._sender, self._bus, self._follow = ledger, sender, bus, follow

    def __call__(self) -> None:
        """Send what is pending.

        Raises:
            Unavailable: the broker or the ledger is away; the rest stays pending.
        """
        sent: list[int] = []
        try:
            for event in self._ledger.outbox.pending():
                self._send(event)
                sent.append(event.id)
        finally:
            if sent:
                self._ledger.outbox.sent(sent)

    def _send(self, event: Event) -> None:
        if event.topic.startswith(BUS_PREFIX):
            channel = event.topic.removeprefix(BUS_PREFIX)
            if channel.startswith(_FLIPS):
                self._follow(channel.removeprefix(_FLIPS))
            self._bus.publish(channel, dict(event.payload))
            return
        try:
            message = message_type(event.topic).model_validate(event.payload)
        except (KeyError, ValidationError) as error:
            # It could never be sent, and would hold up everything behind it.
            _log.error("outbox_event_dropped", event_id=event.id, topic=event.topic, error=str(error))
            return
        self._sender.send(message)


class _Patience(Generic[Key]):
    """When the hint of each key was last sent, so that a queue behind long work does not fill with them."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._sent = seconds, dict[Key, float]()

    def due(self, waiting: Collection[Key]) -> Iterator[Key]:
        """Those whose turn it is; each counts as sent when the caller asks for the next, so a failed one does not."""
        self._sent = {each: at for each, at in self._sent.items() if each in waiting}
        for each in waiting:
            if time.monotonic() - self._sent.get(each, -math.inf) >= self._seconds:
                yield each
                self._sent[each] = time.monotonic()


class StaleRuns:
    """Re-sends the hint of a run that waits unclaimed, or whose worker fell silent.

    The ledger decides who may work, so a hint too many is harmless.
    """

    def __init__(self, ledger: Ledger, sender: Sends, patience_seconds: float = 15.0) -> None:
        self._ledger, self._sender, self._patience_ms = ledger, sender, patience_seconds * 1_000
        self._patience = _Patience[int](patience_seconds)

    def __call__(self) -> None:
        """Hint at every stale run whose turn it is.

        Raises:
            Unavailable: the broker or the ledger is away.
        """
        # The outbox event of a run that was just ordered is still on its way.
        ordered_before = self._ledger.now() - self._patience_ms
        stale = {
            run.id: run
            for run in self._ledger.runs.stale()
            if run.state is not RunState.QUEUED or run.attempts or run.created_at <= ordered_before
        }
        for run_id in self._patience.due([*stale]):
            run = stale[run_id]
            _log.warning("run_hinted_again", run_id=run_id, state=run.state, attempts=run.attempts)
            self._sender.send(TrainRun(run_id=run_id))


class StaleBackfills:
    """Re-sends the hint of a backfill that nobody works on and that has not come on for `patience` seconds."""

    def __init__(self, ledger: Ledger, sender: Sends, patience_seconds: float = 15.0) -> None:
        self._ledger, self._sender, self._patience_ms = ledger, sender, patience_seconds * 1_000
        self._patience = _Patience[int](patience_seconds)

    def __call__(self) -> None:
        """Hint at every one whose turn it is.

        Raises:
            Unavailable: the broker or the ledger is away.
        """
        stood_since = self._ledger.now() - self._patience_ms
        stale = [each.id for each in self._ledger.backfills.stale() if each.changed_at <= stood_since]
        for backfill in self._patience.due(stale):
            _log.warning("backfill_hinted_again", backfill_id=backfill)
            self._sender.send(IngestBackfill(backfill_id=backfill))


class Due(Generic[Key]):
    """Hints at whatever `waiting` tells, each again while it waits: `hint` makes its message."""

    def __init__(
        self,
        sender: Sends,
        waiting: Callable[[], Collection[Key]],
        hint: Callable[[Key], Message],
        patience_seconds: float = 15.0,
    ) -> None:
        self._sender, self._waiting, self._hint = sender, waiting, hint
        self._patience = _Patience[Key](patience_seconds)

    def __call__(self) -> None:
        """Hint at each whose turn it is.

        Raises:
            Unavailable: the broker or the ledger is away.
        """
        for key in self._patience.due(self._waiting()):
            self._sender.send(self._hint(key))


def settle_pair(pair: PairKey) -> LearnSettle:
    """Of a pair whose decisions have waited for an outcome in vain: they count as the schema's default."""
    return LearnSettle(strategy=pair.strategy, instrument=pair.instrument)


def score_stream(stream: StreamKey) -> ScorePredictions:
    """Of a stream whose predictions' hours are over."""
    return ScorePredictions(stream=str(stream))
