"""Where the keeper's parts meet."""

from collections.abc import Callable
from datetime import datetime

from services.fleet.keeper.crons import OFF, CronRow
from services.fleet.keeper.leader import Duty, Keeper
from services.fleet.keeper.relay import Due, OutboxRelay, StaleBackfills, StaleRuns, score_stream, settle_pair
from services.fleet.keeper.retention import Retention
from services.fleet.keeper.settings import KeeperSettings
from services.ml_trainer.service.projection import Projection
from services.ml_trainer.service.registry.ordering import BaselineOrders, retrain
from tidewheel.contracts.messages import IngestSeal
from tidewheel.contracts.roles import Role
from tidewheel.contracts.times import iso, to_millis
from tidewheel.kit.bus import Bus
from tidewheel.kit.celery import Sender
from tidewheel.kit.service import Service
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.modelstore.store import ModelStore


def build(settings: KeeperSettings) -> Service:
    """One keeper; the one that holds the lease leads."""
    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    store, trained = ModelStore(settings.models_dir), ModelStore(settings.trained_models_dir)
    cache = ModelStore(settings.model_cache_dir)
    sender, bus = Sender(settings.redis_url), Bus(settings.redis_url)
    projection, patience = Projection(ledger, store), settings.hint_seconds
    duties = [
        Duty(name="relay_outbox", every=0.25, act=OutboxRelay(ledger, sender, bus, projection.follow_or_log)),
        Duty(name="hint_stale_runs", every=1.0, act=StaleRuns(ledger, sender, patience)),
        Duty(name="hint_stale_backfills", every=5.0, act=StaleBackfills(ledger, sender, patience)),
        Duty(name="hint_due_decisions", every=2.0, act=Due(sender, ledger.outcomes.due, settle_pair, patience)),
        Duty(name="hint_due_predictions", every=2.0, act=Due(sender, ledger.predictions.due, score_stream, patience)),
        Duty(name="ingest_cron", every=1.0, act=ingest_row(sender, settings)),
        Duty(name="retrain_cron", every=1.0, act=retrain_row(ledger, settings)),
        Duty(name="registry_cron", every=1.0, act=registry_row(ledger, settings)),
        Duty(name="order_baseline", every=5.0, act=baseline_orders(ledger, settings)),
        Duty(name="project_current", every=2.0, act=projections(ledger, projection)),
        Duty(name="prune_refused", every=60.0, act=Retention(ledger, store, trained, cache, settings.keep_refused)),
    ]
    keeper = Keeper(ledger.leases, settings.instance, settings.lease_seconds, duties)
    return Service(
        name=Role.KEEPER,
        settings=settings,
        loops=[keeper],
        pings=[ledger.ping, keeper.ping],
        keys=ledger.keys,
        close=[ledger.close, sender.close, bus.close],
    )


def ingest_row(sender: Sender, settings: KeeperSettings) -> CronRow:
    """INGEST_CRON: a hint for every stream; the ingester skips what is not due."""

    def seal_all(_: datetime) -> None:
        for symbol in settings.wanted_symbols:
            sender.send(IngestSeal(stream=f"{settings.exchange}:{symbol}:{settings.timeframe}"))

    return CronRow("INGEST_CRON", settings.ingest_cron, seal_all)


def retrain_row(ledger: Ledger, settings: KeeperSettings) -> CronRow:
    """RETRAIN_CRON: one run a moment, however many keepers see it."""

    def retrain(moment: datetime) -> None:
        consumer = settings.train_consumer
        ledger.runs.start_or_join(consumer, consumer, "cron", schedule_key=f"{consumer}@{iso(to_millis(moment))}")

    return CronRow("RETRAIN_CRON", settings.retrain_cron, retrain)


def registry_row(ledger: Ledger, settings: KeeperSettings) -> CronRow:
    """TIDEWHEEL_REGISTRY_CRON: one run a model that was trained here, and a moment."""

    def retrain_models(moment: datetime) -> None:
        retrain(ledger, to_millis(moment))

    return CronRow("TIDEWHEEL_REGISTRY_CRON", settings.registry_cron, retrain_models)


def baseline_orders(ledger: Ledger, settings: KeeperSettings) -> Callable[[], None]:
    """The first baseline, and one that looks further ahead, once there are hours enough."""
    orders = BaselineOrders(ledger, settings.wanted_symbols)
    return orders if settings.registry_cron != OFF else lambda: None


def projections(ledger: Ledger, projection: Projection) -> Callable[[], None]:
    """Bring `current` of every family in line with the ledger."""

    def reconcile() -> None:
        for family in ledger.versions.families():
            projection.reconcile(family)

    return reconcile
