"""A real trainer worker: `python -m tests.services.ml_trainer.working CHILD_MODULE`, settings from the environment."""

import sys

from services.ml_trainer.service.fitting import FitChild
from services.ml_trainer.service.trainings import build_trainer
from services.ml_trainer.settings import TrainerSettings
from services.ml_trainer.tasks import tasks
from tidewheel.contracts.messages import Queue
from tidewheel.kit.celery import run_worker
from tidewheel.kit.service import Service
from tidewheel.kit.settings import load
from tidewheel.ledger.open import open_ledger


def build(settings: TrainerSettings, child: str) -> Service:
    """What `app.build_worker` builds, with the child that the test wants."""
    ledger = open_ledger(settings.ledger_db, settings.data_dir)
    fit = FitChild(settings.data_dir / "work", child)
    trainer = build_trainer(ledger, fit, settings)
    return Service(name="trainer", settings=settings, tasks=tasks(trainer), on_shutdown=[trainer.stop])


if __name__ == "__main__":
    settings = load(TrainerSettings)
    sys.exit(
        run_worker(settings, lambda: build(settings, sys.argv[1]), queues=[Queue.TRAIN], pool="threads", concurrency=1)
    )
