"""Where the trainer's parts meet: the API (role ml-trainer) and the worker (role trainer)."""

from typing import TYPE_CHECKING

from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.roles import Role
from tidewheel.kit.loops import Repeating
from tidewheel.kit.room import DiskRoom
from tidewheel.kit.service import Service
from tidewheel.ledger.open import open_ledger
from tidewheel.modelstore.store import ModelStore

if TYPE_CHECKING:
    from services.ml_trainer.service.fitting import FitChild


def build(settings: TrainerSettings) -> Service:
    """The API on port 8003; it trains nothing itself."""
    import httpx

    from services.ml_trainer.api import predict_router, router
    from services.ml_trainer.service.gauges import COUNT_SECONDS, count_claims
    from services.ml_trainer.service.promotions import Promotions
    from services.ml_trainer.service.runs import Runs

    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    runs = Runs(ledger, settings.train_consumer)
    promotions = Promotions(ledger, ModelStore(settings.models_dir), settings.train_consumer)
    predictor = httpx.Client(base_url=settings.upstream_predictor, timeout=30.0)
    return Service(
        name=Role.ML_TRAINER,
        settings=settings,
        routers=[router(runs, promotions, settings.train_wait_seconds), predict_router(predictor)],
        pings=[ledger.ping],
        spare=[DiskRoom(settings.disk_floor_mb, settings.data_dir, settings.models_dir).ping],
        loops=[Repeating("claim-gauges", COUNT_SECONDS, lambda: count_claims(ledger, settings.train_consumer))],
        keys=ledger.keys,
        close=[ledger.close, predictor.close],
    )


def build_worker(settings: TrainerSettings, child: "FitChild | None" = None) -> Service:
    """The worker that carries runs out, one at a time, each fit in a child process."""
    from services.ml_trainer.service.fitting import FitChild
    from services.ml_trainer.service.living import LIVING_SECONDS, Living
    from services.ml_trainer.service.trainings import build_trainer
    from services.ml_trainer.tasks import tasks

    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    for folder in (settings.models_dir, settings.trained_models_dir, settings.model_cache_dir):
        ModelStore(folder).check_writable()
    trainer = build_trainer(ledger, child or FitChild(settings.data_dir / "work"), settings)
    living = Living(ledger, settings.instance)
    return Service(
        name=Role.TRAINER,
        settings=settings,
        tasks=tasks(trainer),
        pings=[ledger.ping],
        loops=[Repeating("living", LIVING_SECONDS, living.tell)],
        on_shutdown=[trainer.stop],
        close=[ledger.close, living.leave],
    )
