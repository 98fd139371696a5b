"""HTTP face of the predictor."""

from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from services.predictor.schemas import ModelAnswer, PredictRequest, RegimeAnswer
from services.predictor.service.regimes import LiveRegime, Predictor, Serving
from tidewheel.contracts.states import Scope as KeyScope
from tidewheel.kit.auth import require
from tidewheel.kit.problems import problem
from tidewheel.kit.web import Json, LongBodyRoute

VERSION_HEADER = "X-Model-Version"
_SERVING = "tidewheel.serving"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    404: problem("not_found", "The stream is not in the ledger."),
    422: problem("bad_input", "The input cannot be used, or holds too few points."),
    503: problem("no_model", "No model is in service yet; train one with POST /train."),
}


def router(predictor: Predictor, live: LiveRegime) -> APIRouter:
    """`POST /predict` and `GET /model`."""
    # One after the other: two threads would be no faster, and whoever answers the others would wait for both.
    filtering = CapacityLimiter(1)

    class ModelRoute(LongBodyRoute):
        """Takes ONE model reference per request, so that header and body name the same version even during a flip."""

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            serving = live.get()
            scope[_SERVING] = serving

            async def send_named(message: Message) -> None:
                if message["type"] == "http.response.start" and serving is not None:
                    MutableHeaders(scope=message)[VERSION_HEADER] = serving.version
                await send(message)

            await super().handle(scope, receive, send_named)

    routes = APIRouter(route_class=ModelRoute, dependencies=[Depends(require(KeyScope.READ))], tags=["regimes"])

    @routes.post("/predict", response_model=RegimeAnswer, responses=_REFUSALS)
    async def predict(request: Request, body: PredictRequest) -> Response:
        """The regime at the last point: filtered, looking back only.

        Send log returns, bars or the name of a stream. Every answer names the model's version, also in the header
        X-Model-Version.
        """
        answer = await run_sync(predictor.predict, body, _serving(request), limiter=filtering)
        return Json(answer.model_dump())

    @routes.get("/model", response_model=ModelAnswer)
    def model(request: Request) -> Response:
        """What this replica serves, and why not something newer."""
        return Json(predictor.replica(_serving(request)).model_dump())

    return routes


def _serving(request: Request) -> Serving | None:
    serving: Serving | None = request.scope[_SERVING]
    return serving
