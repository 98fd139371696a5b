"""Sending what the ledger has decided: the outbox after its commit, and hints that nobody followed."""

import time
from collections.abc import Callable
from typing import Protocol

from pydantic import ValidationError

from tidewheel.contracts.errors import BadBundle, NotFound
from tidewheel.contracts.messages import Channels, IngestBackfill, Message, TrainRun, message_type
from tidewheel.contracts.states import RunState
from tidewheel.contracts.times import UtcMillis
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Event

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

    `follow(family)` makes `current` follow the ledger. It is called before a flip is told: a reader that looked
    sooner would still find the old version, and look again only at its next poll.
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
                self._show(channel.removeprefix(_FLIPS))
            self._bus.publish(channel, dict(event.payload))
            return
        try:
            message = message_type(event.topic).model_validate(event.payload)
        except (KeyError, ValidationError) as error:
            # It could never be sent, and would hold up everything behind it.
            _log.error("outbox_event_dropped", event_id=event.id, topic=event.topic, error=str(error))
            return
        self._sender.send(message)

    def _show(self, family: str) -> None:
        try:
            self._follow(family)
        except (BadBundle, NotFound) as refused:
            # The projection's own duty repeats it, and the hint behind it must not wait for a person.
            _log.error("current_not_moved", family=family, detail=refused.detail)


class StaleRuns:
    """Re-sends the hint of a run that waits unclaimed, or whose worker fell silent.

    The ledger decides who may work, so a hint too many is harmless; `patience` keeps a queue behind a long run from
    filling with them.
    """

    def __init__(self, ledger: Ledger, sender: Sends, patience_seconds: float = 15.0) -> None:
        self._ledger, self._sender, self._patience = ledger, sender, patience_seconds
        self._hinted: dict[int, float] = {}

    def __call__(self) -> None:
        """Hint at every stale run whose turn it is.

        Raises:
            Unavailable: the broker or the ledger is away.
        """
        now: UtcMillis = self._ledger.now()
        stale = self._ledger.runs.stale()
        waiting = {run.id for run in stale}
        self._hinted = {run_id: at for run_id, at in self._hinted.items() if run_id in waiting}
        for run in stale:
            if run.state is RunState.QUEUED and run.attempts == 0 and now - run.created_at < self._patience * 1_000:
                continue  # its own outbox event is still on its way
            if time.monotonic() - self._hinted.get(run.id, float("-inf")) >= self._patience:
                _log.warning("run_hinted_again", run_id=run.id, state=run.state, attempts=run.attempts)
                self._sender.send(TrainRun(run_id=run.id))
                self._hinted[run.id] = time.monotonic()


class StaleBackfills:
    """Re-sends the hint of a backfill that nobody works on and that has not come on for `patience` seconds."""

    def __init__(self, ledger: Ledger, sender: Sends, patience_seconds: float = 15.0) -> None:
        self._ledger, self._sender, self._patience = ledger, sender, patience_seconds
        self._hinted: dict[int, float] = {}

    def __call__(self) -> None:
        """Hint at every one whose turn it is.

        Raises:
            Unavailable: the broker or the ledger is away.
        """
        stood_since = self._ledger.now() - self._patience * 1_000
        stale = [each.id for each in self._ledger.backfills.stale() if each.changed_at <= stood_since]
        self._hinted = {backfill: at for backfill, at in self._hinted.items() if backfill in stale}
        for backfill in stale:
            if time.monotonic() - self._hinted.get(backfill, float("-inf")) >= self._patience:
                _log.warning("backfill_hinted_again", backfill_id=backfill)
                self._sender.send(IngestBackfill(backfill_id=backfill))
                self._hinted[backfill] = time.monotonic()
