"""A trainer that is killed as it would tell the ledger of its bundle: `... RUN`, settings from the environment."""

import os
import signal
import sys

from services.ml_trainer.service.trainings import build_trainer
from services.ml_trainer.settings import TrainerSettings
from tests.services.ml_trainer.hourly import FitHere
from tidewheel.kit.settings import load
from tidewheel.ledger.open import open_ledger
from tidewheel.ledger.records import Run
from tidewheel.ledger.run_lease import RunLease


def die(*_: object, **__: object) -> Run:
    """kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody outlives it")


if __name__ == "__main__":
    settings = load(TrainerSettings)
    RunLease.publish_model = die  # type: ignore[method-assign]
    RunLease.complete = die  # type: ignore[method-assign]
    ledger = open_ledger(settings.ledger_db, settings.data_dir)
    build_trainer(ledger, FitHere(settings.data_dir / "work"), settings).run(int(sys.argv[1]))
