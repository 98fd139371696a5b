"""Celery tasks of the predictor."""

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.messages import ScorePredictions
from tidewheel.kit.service import Tasks
from tidewheel.ledger.open import Ledger
from tidewheel.registry.scoring import score


def tasks(ledger: Ledger) -> Tasks:
    """Message -> what handles it."""

    def score_predictions(message: ScorePredictions) -> object:
        return score(ledger, StreamKey.parse(message.stream))

    return {ScorePredictions: score_predictions}
