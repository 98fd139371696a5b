"""`POST /predict`, `GET /predict/{model_name}/{horizon}` and `GET /model`."""

from typing import Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from services.predictor.schemas.predicting import ForecastAnswer, ModelAnswer, PredictRequest, RegimeAnswer
from services.predictor.service.forecasts import Forecasting
from services.predictor.service.regimes import LiveRegime, Predictor, Serving
from tidewheel.contracts.keys import BASELINE
from tidewheel.contracts.states import Scope as KeyScope
from tidewheel.kit.auth import Actor, require
from tidewheel.kit.problems import problem
from tidewheel.kit.web import Json, LongBodyRoute

VERSION_HEADER = "X-Model-Version"
_SERVING, _NAMED = "tidewheel.serving", "tidewheel.model_version"
_FORECAST_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: problem("horizon_not_supported", "The model is not known, or not for this horizon; or there is no data yet."),
    403: problem("model_not_trusted", "The model's file is a pickle that nobody has had converted yet."),
    404: problem("not_found", "The stream is not in the ledger, or the model's file is gone."),
    409: problem("no_champion", "No version of the name is its champion; or the file is not the one registered."),
    422: problem("bad_input", "Hours behind a feature are not stored, or too few points were sent."),
}
_REFUSALS: dict[int | str, dict[str, Any]] = _FORECAST_REFUSALS | {
    503: problem("no_model", "No model is in service yet; train one with POST /train."),
}


Reader = Annotated[Actor, Depends(require(KeyScope.READ))]


def router(predictor: Predictor, forecasting: Forecasting, live: LiveRegime) -> APIRouter:
    """What is predicted, and what with."""
    # One after the other: two threads would be no faster, and whoever answers the others would wait for both.
    filtering = CapacityLimiter(1)

    class ModelRoute(LongBodyRoute):
        """Takes ONE model reference per request, so that header and body name the same version even during a flip."""

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            serving = live.get()
            scope[_SERVING], scope[_NAMED] = serving, None if serving is None else serving.version

            async def send_named(message: Message) -> None:
                if message["type"] == "http.response.start" and scope[_NAMED] is not None:
                    MutableHeaders(scope=message)[VERSION_HEADER] = scope[_NAMED]
                await send(message)

            await super().handle(scope, receive, send_named)

    routes = APIRouter(route_class=ModelRoute, tags=["predictions"])

    async def forecast(request: Request, body: PredictRequest, actor: Actor) -> Response:
        request.scope[_NAMED] = None  # no regime model has part in it
        answer = await run_sync(forecasting.forecast, body, actor)
        request.scope[_NAMED] = answer.model_version
        return Json(answer.model_dump())

    @routes.post("/predict", response_model=RegimeAnswer | ForecastAnswer, responses=_REFUSALS)
    async def predict(request: Request, body: PredictRequest, actor: Reader) -> Response:
        """The regime at the last point, filtered, looking back only; or a registered model's forecast.

        Send log returns, bars or the name of a stream for the regime; a registered model's fields for its forecast.
        Every answer names the model's version, also in the header X-Model-Version.
        """
        if body.is_forecast:
            return await forecast(request, body, actor)
        answer = await run_sync(predictor.predict, body, _serving(request), limiter=filtering)
        return Json(answer.model_dump())

    @routes.get("/predict/{model_name}/{horizon}", response_model=ForecastAnswer, responses=_FORECAST_REFUSALS)
    async def predict_quickly(
        model_name: Annotated[str, Path(max_length=64, examples=[BASELINE])],
        horizon: Annotated[int, Path(description="Hours to look ahead.", examples=[3])],
        request: Request,
        actor: Reader,
        save_to_db: Annotated[bool, Query(description="Keep the forecast; needs scope `registry`.")] = False,
        model_version: Annotated[str | None, Query(max_length=64, description="A version or an alias.")] = None,
        stream: Annotated[
            str | None, Query(max_length=200, description="Whose hours it is made from; else those it learnt.")
        ] = None,
    ) -> Response:
        """A registered model's forecast, as `POST /predict` gives it."""
        body = PredictRequest(
            model_name=model_name, prediction_horizon=horizon, save_to_db=save_to_db, model_version=model_version,
            stream=stream,
        )  # fmt: skip
        return await forecast(request, body, actor)

    @routes.get("/model", response_model=ModelAnswer, dependencies=[Depends(require(KeyScope.READ))])
    def model(request: Request) -> Response:
        """What this replica serves, and why not something newer."""
        return Json(predictor.replica(_serving(request)).model_dump())

    return routes


def _serving(request: Request) -> Serving | None:
    serving: Serving | None = request.scope[_SERVING]
    return serving
