"""Nothing that the ledger decided stays unsent."""

import pytest

from services.fleet.keeper.relay import OutboxRelay, StaleBackfills, StaleRuns
from services.ml_trainer.service.projection import Projection
from tests.services.fleet.keeper.conftest import Publish, Sent
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.messages import Channels, IngestBackfill, TrainRun
from tidewheel.contracts.states import Origin
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore


def test_a_queued_run_is_hinted_at_once(ledger: Ledger, sent: Sent) -> None:
    """The outbox event of a new run becomes one message, however often the relay runs."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    relay = OutboxRelay(ledger, sent, sent, follow=str)

    relay()
    relay()

    assert sent.messages == [TrainRun(run_id=run.id)]


def test_a_promotion_is_told_on_the_bus(ledger: Ledger, sent: Sent, publish: Publish) -> None:
    """Predictors hear of the new version."""
    version = publish()

    OutboxRelay(ledger, sent, sent, follow=str)()

    assert [channel for channel, _ in sent.events] == [Channels.models("hmm")]
    assert sent.events[0][1]["version"] == version


def test_current_moves_before_the_flip_is_told(ledger: Ledger, sent: Sent, publish: Publish, store: ModelStore) -> None:
    """A reader that follows the hint at once finds the new version, even if its publisher died before the symlink."""
    version = publish()
    assert store.current("hmm") is None
    seen: list[str | None] = []
    sent.on_publish = lambda: seen.append(store.current("hmm"))

    OutboxRelay(ledger, sent, sent, follow=Projection(ledger, store).follow_or_log)()

    assert seen == [version]


@pytest.mark.parametrize("fault", ["damaged", "no folder for the registry"])
def test_a_link_that_cannot_move_does_not_hold_up_the_outbox(
    ledger: Ledger, sent: Sent, publish: Publish, store: ModelStore, fault: str
) -> None:
    """The flip is told although `current` or the registry could not follow; what lies behind it is sent."""
    version = publish()
    ledger.runs.start_or_join("other", "hmm", "test")
    if fault == "damaged":
        (store.path("hmm", version) / "model.json").write_text("{}")
    else:
        (store.models_dir / "registry").touch()

    OutboxRelay(ledger, sent, sent, Projection(ledger, store).follow_or_log)()

    assert len(sent.events) == 1
    assert len(sent.messages) >= 1
    assert ledger.outbox.pending() == []


def test_an_absent_broker_only_delays(ledger: Ledger, sent: Sent) -> None:
    """What could not be sent is sent later."""
    ledger.runs.start_or_join("hmm", "hmm", "test")
    relay = OutboxRelay(ledger, sent, sent, follow=str)
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


def test_a_hint_that_could_not_be_sent_is_sent_at_the_next_turn(ledger: Ledger, sent: Sent) -> None:
    """While the broker is away nothing counts as sent, so patience does not begin."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    lease = ledger.runs.lease(run.id, "dying", 60_000)
    assert lease is not None
    ledger.leases.release(lease.lease)
    stale = StaleRuns(ledger, sent, patience_seconds=3_600)

    sent.away = Unavailable("gone")
    with pytest.raises(Unavailable):
        stale()
    sent.away = None
    stale()

    assert sent.messages == [TrainRun(run_id=run.id)]


def test_a_backfill_nobody_takes_is_hinted_again_with_patience(ledger: Ledger, sent: Sent) -> None:
    """A lost message is repaired; what somebody works on, or has just come on, is left alone."""
    key = StreamKey("binance", "BTC/USDT", "1m")
    ledger.streams.register(key, Origin.EXCHANGE)
    backfill = ledger.backfills.start(key, 0, key.step)

    StaleBackfills(ledger, sent, patience_seconds=60.0)()
    with ledger.leases.hold(f"backfill:{backfill.id}", "worker", 10_000):
        StaleBackfills(ledger, sent, patience_seconds=0.0)()
    assert sent.messages == []
    patient = StaleBackfills(ledger, sent, patience_seconds=0.0)
    patient()
    ledger.backfills.cancel(backfill.id, "ann")
    patient()

    assert sent.messages == [IngestBackfill(backfill_id=backfill.id)]
