"""HTTP face of the trainer, port 8003."""

from functools import partial
from typing import Annotated

import httpx
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from services.ml_trainer.schemas import ModelView, PromotionView, RunList, RunView
from services.ml_trainer.service.promotions import Promotions
from services.ml_trainer.service.runs import Runs
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import Actor, require
from tidewheel.kit.problems import problem

MayRead = Depends(require(Scope.READ))
MayTrain = Annotated[Actor, Depends(require(Scope.TRAIN))]
MayPromote = Annotated[Actor, Depends(require(Scope.PROMOTE))]
Reason = Annotated[str | None, Query(max_length=500, description="Why; it is kept with the promotion.")]

_FORWARDING = 8  #: threads; each waits for the predictor
_FORWARDED = (b"authorization", b"content-type", b"accept", b"x-request-id")
_RETURNED = ("content-type", "x-model-version", "www-authenticate", "retry-after")


def router(runs: Runs, promotions: Promotions, wait_seconds: float) -> APIRouter:
    """Routes over training runs and the champion."""
    routes = APIRouter()

    @routes.post(
        "/train",
        tags=["training"],
        response_model=RunView,
        responses={202: {"model": RunView, "description": "Still running; follow it at `GET /runs/{run_id}`."}},
    )
    async def train(
        _: MayTrain, wait: Annotated[bool, Query(description="false: answer 202 at once.")] = True
    ) -> Response:
        """Start a training run, or join the active one, and wait for its end up to TRAIN_WAIT_SECONDS."""
        run = await run_in_threadpool(runs.start_or_join, "api")
        run = await runs.wait(run, wait_seconds if wait else 0.0)
        return JSONResponse(run.model_dump(mode="json"), status_code=200 if run.state.final else 202)

    @routes.get("/runs", tags=["training"], dependencies=[MayRead])
    def list_runs(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> RunList:
        """Training runs of all consumers, newest first."""
        return RunList(runs=runs.newest(limit))

    @routes.get("/runs/{run_id}", tags=["training"], dependencies=[MayRead], responses={404: problem("not_found")})
    def get_run(run_id: int) -> RunView:
        """One run with its progress, and its verdict once it has ended."""
        return runs.get(run_id)

    @routes.post("/runs/{run_id}/cancel", tags=["training"], responses={404: problem("not_found")})
    def cancel(run_id: int, actor: MayTrain) -> RunView:
        """End a run. A queued one ends at once; a running one's fit is killed and its files go back."""
        return runs.cancel(run_id, actor.name)

    @routes.get("/model", tags=["model"], dependencies=[MayRead])
    def model() -> ModelView:
        """What should be served, its metrics and lineage, and what every predictor has loaded."""
        return promotions.model()

    @routes.post(
        "/model/promote/{version}",
        tags=["model"],
        responses={
            404: problem("not_found"),
            409: problem("verdict_not_passed", "It did not pass, or a kill switch stands."),
        },
    )
    def promote(
        version: str,
        actor: MayPromote,
        force: Annotated[bool, Query(description="Overrule the verdict; needs the scope admin and a reason.")] = False,
        reason: Reason = None,
    ) -> PromotionView:
        """Make a version the champion; going forward after a rollback is a promote."""
        return promotions.promote(
            version, actor=actor.name, reason=reason, force=force, admin=Scope.ADMIN in actor.scopes
        )

    @routes.post(
        "/model/rollback",
        tags=["model"],
        responses={404: problem("not_found"), 409: problem("nothing_to_roll_back")},
    )
    def rollback(
        actor: MayPromote,
        to: Annotated[str | None, Query(description="An earlier champion; default: the previous one.")] = None,
        reason: Reason = None,
    ) -> PromotionView:
        """Go back to an earlier champion."""
        return promotions.rollback(actor=actor.name, reason=reason, to=to)

    return routes


def predict_router(predictor: httpx.Client) -> APIRouter:
    """`POST /predict`, forwarded for engines that know one address of the ML service; the key travels along."""
    routes = APIRouter()
    waiting = CapacityLimiter(_FORWARDING)

    @routes.post(
        "/predict",
        tags=["forwarded"],
        dependencies=[MayRead],
        responses={
            404: problem("not_found", "The stream is not in the ledger."),
            422: problem("bad_input", "The input cannot be used, or holds too few points."),
            503: problem("role_away", "The predictor does not answer, or serves no model yet."),
        },
        openapi_extra={
            "requestBody": {
                "content": {
                    "application/json": {"schema": {"type": "object"}, "example": {"logret": [0.0001, -0.0002] * 20}}
                }
            }
        },
    )
    async def predict(request: Request) -> Response:
        """The predictor's own answer, unchanged."""
        body = await request.body()
        headers = [(name, value) for name, value in request.headers.raw if name in _FORWARDED]
        try:
            ask = partial(predictor.post, "/predict", content=body, headers=headers)
            answer = await run_sync(ask, limiter=waiting)
        except httpx.TransportError as error:
            raise Unavailable(
                f"the predictor at {predictor.base_url} does not answer ({type(error).__name__}); start the role "
                "predictor, or correct TIDEWHEEL_UPSTREAM_PREDICTOR",
                code="role_away",
            ) from None
        kept = {name: answer.headers[name] for name in _RETURNED if name in answer.headers}
        return Response(answer.content, status_code=answer.status_code, headers=kept)

    return routes
