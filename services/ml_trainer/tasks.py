"""Celery face of the trainer."""

from services.ml_trainer.service.trainer import Trainer
from tidewheel.contracts.messages import TrainRun
from tidewheel.kit.service import Tasks


def tasks(trainer: Trainer) -> Tasks:
    """Message -> what handles it."""

    def train(message: TrainRun) -> None:
        trainer.run(message.run_id)

    return {TrainRun: train}
