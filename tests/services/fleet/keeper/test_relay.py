"""Nothing that the ledger decided stays unsent."""

import pytest

from services.fleet.keeper.relay import OutboxRelay, StaleRuns
from tests.services.fleet.keeper.conftest import Publish, Sent
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.messages import Channels, TrainRun
from tidewheel.ledger.open import Ledger


def test_a_queued_run_is_hinted_at_once(ledger: Ledger, sent: Sent) -> None:
    """The outbox event of a new run becomes one message, however often the relay runs."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    relay = OutboxRelay(ledger, sent, sent)

    relay()
    relay()

    assert sent.messages == [TrainRun(run_id=run.id)]


def test_a_promotion_is_told_on_the_bus(ledger: Ledger, sent: Sent, publish: Publish) -> None:
    """Predictors hear of the new version."""
    version = publish()

    OutboxRelay(ledger, sent, sent)()

    assert [channel for channel, _ in sent.events] == [Channels.models("hmm")]
    assert sent.events[0][1]["version"] == version


def test_an_absent_broker_only_delays(ledger: Ledger, sent: Sent) -> None:
    """What could not be sent is sent later."""
    ledger.runs.start_or_join("hmm", "hmm", "test")
    relay = OutboxRelay(ledger, sent, sent)
    sent.away = Unavailable("gone")

    with pytest.raises(Unavailable):
        relay()
    sent.away = None
    relay()

    assert len(sent.messages) == 1
    assert ledger.outbox.pending() == []


def test_a_run_nobody_takes_is_hinted_again_with_patience(ledger: Ledger, sent: Sent) -> None:
    """A lost message is repaired; a queue behind a long run does not fill with hints."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")

    StaleRuns(ledger, sent, patience_seconds=3_600)()
    assert sent.messages == []
    stale = StaleRuns(ledger, sent, patience_seconds=0)
    stale()
    assert sent.messages == [TrainRun(run_id=run.id)]


def test_a_run_whose_worker_fell_silent_is_hinted_at_once(ledger: Ledger, sent: Sent) -> None:
    """An expired lease needs no patience, but one hint is enough for a while."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    lease = ledger.runs.lease(run.id, "dying", 60_000)
    assert lease is not None
    stale = StaleRuns(ledger, sent, patience_seconds=3_600)
    stale()
    assert sent.messages == []

    ledger.leases.release(lease.lease)
    stale()
    stale()

    assert sent.messages == [TrainRun(run_id=run.id)]
