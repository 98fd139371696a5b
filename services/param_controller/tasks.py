"""Celery tasks of the param-controller."""

from services.param_controller.service.learning import Learning
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.messages import LearnSettle
from tidewheel.kit.service import Tasks


def tasks(learning: Learning) -> Tasks:
    """Message -> what handles it."""

    def settle(message: LearnSettle) -> object:
        return learning.settle(PairKey(message.strategy, message.instrument))

    return {LearnSettle: settle}
