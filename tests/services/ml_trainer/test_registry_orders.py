"""What is trained when nobody asks: the first baseline, one that looks further, and what was trained here before."""

from datetime import UTC, datetime

from services.fleet.keeper.app import registry_row
from services.fleet.keeper.settings import KeeperSettings
from services.ml_trainer.service.registry.ordering import BaselineOrders, usual_stream
from tests.libs.ledger.registry.registering import new_model
from tests.services.ml_trainer.conftest import Feed
from tests.services.ml_trainer.hourly import HOURLY, kinked
from tidewheel.contracts.keys import StreamKey, registry_consumer
from tidewheel.contracts.states import RunState
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.features.frames import CandleFrame
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run

OTHER = StreamKey.parse("binance:ETH/USDT:1h")
PASSED = Verdict(steps=(StepResult(step="forecast_champion", passed=True, reason="better"),))


def ended(ledger: Ledger, state: RunState = RunState.SKIPPED) -> Run:
    """The newest run, taken up and ended without a version."""
    lease = ledger.runs.lease(ledger.runs.list(1)[0].id, "test", 30_000)
    assert lease is not None
    return lease.finish(state, "test")


def trained(ledger: Ledger, name: str, number: int, horizons: tuple[int, ...], stream: StreamKey = HOURLY) -> None:
    """A version of `name` that a run has made champion."""
    run, _ = ledger.runs.start_or_join(registry_consumer(name), name, "test", params={"stream": str(stream)})
    lease = ledger.runs.lease(run.id, "test", 30_000)
    assert lease is not None
    new = new_model(number, name, prediction_horizons=horizons, feature_signatures={}, stream=stream)
    assert lease.publish_model(new, PASSED).state is RunState.PROMOTED


def append(ledger: Ledger, frame: CandleFrame) -> None:
    with ledger.leases.hold(f"stream:{HOURLY}", "test", 10_000) as held:
        ledger.bars.append(held.lease, HOURLY, frame, "test")


def test_a_baseline_is_ordered_once_a_stream_has_hours_enough(ledger: Ledger, feed: Feed) -> None:
    """Not before; once a day of data while it comes to nothing; again when a further horizon is in reach."""
    frame, orders = kinked(1_000), BaselineOrders(ledger, ["ETH/USDT"])
    feed(kinked(300), OTHER)
    feed(frame.take(slice(344)), HOURLY)
    orders()
    assert ledger.runs.list() == []

    append(ledger, frame.take(slice(344, 345)))
    for _ in range(3):
        orders()
    (first,) = ledger.runs.list()
    assert (first.consumer, first.family, first.params) == ("registry-baseline", "baseline", {"stream": str(HOURLY)})
    ended(ledger)
    append(ledger, frame.take(slice(345, 349)))
    orders()
    assert len(ledger.runs.list()) == 1, "the same day"

    append(ledger, frame.take(slice(349, 369)))
    orders()
    assert [run.schedule_key for run in ledger.runs.list()] == [
        f"registry-baseline@{HOURLY}@3h@2023-11-30",
        f"registry-baseline@{HOURLY}@1h@2023-11-29",
    ]
    ended(ledger)
    trained(ledger, "baseline", 1, (1, 3))
    append(ledger, frame.take(slice(369, 432)))
    orders()
    assert len(ledger.runs.list()) == 3, "nothing further is in reach"

    append(ledger, frame.take(slice(432, 433)))
    orders()
    assert (ledger.runs.list(1)[0].schedule_key or "").startswith(f"registry-baseline@{HOURLY}@24h@")


def test_a_users_baseline_is_his(ledger: Ledger, feed: Feed) -> None:
    """It is neither ordered beside his nor retrained."""
    feed(kinked(), HOURLY)
    ledger.registry.register(new_model(1, "baseline"), "desk")

    BaselineOrders(ledger, ())()

    assert ledger.runs.list() == []


def test_what_was_trained_here_is_trained_again_on_its_stream(ledger: Ledger, feed: Feed) -> None:
    """Each on the stream of its champion, once a moment; a user's models, and names whose champion is a user's, not."""
    feed(kinked(10), HOURLY), feed(kinked(10), OTHER)
    trained(ledger, "baseline", 1, (1,))
    trained(ledger, "random_forest-eth", 2, (1,), OTHER)
    trained(ledger, "random_forest", 3, (1,))
    ledger.registry.register(new_model(4, "random_forest"), "desk")
    ledger.registry.move_alias("random_forest", "champion", "v2026-01-01-00000004", "desk", "mine")
    ledger.registry.register(new_model(5, "theirs"), "desk")
    row = registry_row(ledger, load(KeeperSettings, registry_cron="0 3 * * *", auth_mode="dev"))
    now, before = datetime(2026, 1, 1, 3, 0, 5, tzinfo=UTC), len(ledger.runs.list())

    row(now)
    registry_row(ledger, load(KeeperSettings, registry_cron="0 3 * * *", auth_mode="dev"))(now)

    runs = ledger.runs.list()[: len(ledger.runs.list()) - before]
    assert {run.family: run.params["stream"] for run in runs} == {
        "baseline": str(HOURLY),
        "random_forest-eth": str(OTHER),
    }
    assert len(runs) == 2
    assert {run.schedule_key for run in runs} == {f"registry-{run.family}@2026-01-01T03:00:00Z" for run in runs}
    assert usual_stream(ledger, "random_forest", ()) == HOURLY
    assert usual_stream(ledger, "random_forest-eth", ()) == OTHER
