"""Forecasts of registered models, over HTTP's fields."""

from services.predictor.schemas.predicting import ForecastAnswer, PredictRequest
from tidewheel.contracts.errors import NotAuthorised
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import Actor
from tidewheel.ledger.open import Ledger
from tidewheel.registry.service import ModelService


class Forecasting:
    """Asks registered models, and keeps what they answered where the caller may."""

    def __init__(self, ledger: Ledger, models: ModelService) -> None:
        self._ledger, self._models = ledger, models

    def forecast(self, request: PredictRequest, actor: Actor) -> ForecastAnswer:
        """The forecast of the model that is meant.

        Raises:
            NotAuthorised: it is to be saved, and the actor lacks the scope `registry`.
            whatever `ModelService.make_prediction` raises.
        """
        if request.save_to_db and not actor.may(Scope.REGISTRY):
            raise NotAuthorised(
                f"saving a prediction needs the scope {Scope.REGISTRY}, which {actor.name} lacks; "
                "leave save_to_db out to only look",
                scope=Scope.REGISTRY,
            )
        found = self._models.make_prediction(
            request.model_name,
            request.prediction_horizon,
            self._ledger,
            request.save_to_db,
            stream=None if request.stream is None else StreamKey.parse(request.stream),
            version=request.model_version,
        )
        return ForecastAnswer.model_validate(found)
