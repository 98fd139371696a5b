"""A trainer beside a test, without broker and child: it takes up whatever run it sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.ml_trainer.service.living import LIVING_SECONDS, Living
from services.ml_trainer.service.trainings import build_trainer
from services.ml_trainer.settings import TrainerSettings
from tests.services.ml_trainer.hourly import FitHere
from tidewheel.kit.loops import Repeating
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger


@contextmanager
def training(ledger: Ledger, home: Path) -> Iterator[None]:
    """Within the block runs are carried out, and the ledger hears that a trainer lives."""
    settings = load(TrainerSettings, tidewheel_home=home, auth_mode="dev", instance="trainer-beside")
    trainer, living = build_trainer(ledger, FitHere(home / "work"), settings), Living(ledger, settings.instance)

    def work() -> None:
        for run in ledger.runs.stale():
            trainer.run(run.id)

    living.tell()
    loops = [Repeating("trainer", 0.05, work), Repeating("living", LIVING_SECONDS, living.tell)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        trainer.stop()
        for loop in loops:
            loop.stop()
        living.leave()
