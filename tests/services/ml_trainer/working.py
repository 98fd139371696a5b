"""A real trainer worker: `python -m tests.services.ml_trainer.working CHILD_MODULE`, settings from the environment."""

import sys

from services.ml_trainer.app import build_worker
from services.ml_trainer.service.fitting import FitChild
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.messages import Queue
from tidewheel.kit.celery import run_worker
from tidewheel.kit.settings import load

if __name__ == "__main__":
    settings = load(TrainerSettings)
    child = FitChild(settings.data_dir / "work", sys.argv[1])
    sys.exit(
        run_worker(settings, lambda: build_worker(settings, child), queues=[Queue.TRAIN], pool="threads", concurrency=1)
    )
