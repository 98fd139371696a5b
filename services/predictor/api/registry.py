"""`/models` and `/predictions`: the registered models, and what they forecast."""

from typing import Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Response, status

from services.predictor.schemas.outcomes import ForecastList, MetricsAnswer
from services.predictor.schemas.registry import (
    AliasBody,
    AliasView,
    ModelHistory,
    ModelList,
    RegisteredView,
    RegisterModel,
    StandingBody,
)
from services.predictor.service.catalogue import Catalogue
from tidewheel.contracts.errors import Overloaded
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import Actor, require
from tidewheel.kit.problems import problem

TRIALS = 2  #: at once: each takes a core and, at the most, 2 GiB
WAITING = 8  #: registrations beside those; more would take the room of whoever asks for forecasts
MAY_READ = Depends(require(Scope.READ))
Registrar = Annotated[Actor, Depends(require(Scope.REGISTRY))]
Name = Annotated[str, Path(max_length=64, examples=["baseline"])]
_UNKNOWN = problem("model_not_found", "No model has that name.")
_NO_CHAMPION = problem("no_champion", "No version of the name is its champion.")
_NO_VERSION = problem("unknown_version", "The name has no such version.")
_NOT_NOW = problem("model_inactive", "The version is switched off, learnt simulated bars, or a kill switch stands.")
_REFUSED: dict[int | str, dict[str, Any]] = {
    404: problem("model_file_not_found", "There is no such file below the models folder."),
    409: problem("version_taken", "The version stands for another file."),
    422: problem("bad_model", "The file is no sound model of its format, lies elsewhere, or a field cannot be meant."),
    429: problem("overloaded", "Many files are being tried out; come back when Retry-After has passed."),
}


def router(catalogue: Catalogue) -> APIRouter:
    """Registering, listing and naming models; looking at what they forecast."""
    routes = APIRouter(tags=["models"])
    trials, under_way = CapacityLimiter(TRIALS), set[object]()

    @routes.get("/models", dependencies=[MAY_READ])
    def models() -> ModelList:
        """Every version of every registered model, its aliases and the newest verdict on it."""
        return catalogue.models()

    @routes.post("/models/register", status_code=status.HTTP_201_CREATED, responses=_REFUSED)
    async def register(body: RegisterModel, actor: Registrar, response: Response) -> RegisteredView:
        """Put a file below TRAINED_MODELS_DIR on record, after a child process has tried it out.

        The same file with the same meaning is the same version (200). The first version of a name becomes its
        champion; a later one waits until an alias is moved.
        """
        if len(under_way) >= TRIALS + WAITING:
            raise Overloaded(f"{WAITING} registrations wait for their trial; come back in a few seconds", retry_after=5)
        under_way.add(mine := object())
        try:
            view, created = await run_sync(catalogue.register, body, actor, limiter=trials)
        finally:
            under_way.discard(mine)
        if not created:
            response.status_code = status.HTTP_200_OK
        return view

    @routes.get("/models/{model_name}", dependencies=[MAY_READ], responses={400: _UNKNOWN})
    def model(model_name: Name) -> ModelHistory:
        """The versions of one name, newest first, and every move of its aliases."""
        return catalogue.history(model_name)

    @routes.get(
        "/models/{model_name}/metrics",
        dependencies=[MAY_READ],
        responses={400: _UNKNOWN, 404: problem("not_found", "No such stream."), 409: _NO_CHAMPION},
    )
    def metrics(
        model_name: Name,
        model_version: Annotated[str | None, Query(max_length=64, description="A version or an alias.")] = None,
        stream: Annotated[str | None, Query(max_length=200, description="On which; else where it forecasts.")] = None,
    ) -> MetricsAnswer:
        """Errors of its saved predictions by horizon beside the naive forecast's, coverage, and drift of its inputs."""
        return catalogue.metrics(model_name, model_version, None if stream is None else StreamKey.parse(stream))

    @routes.put("/models/{model_name}/aliases/{alias}", responses={404: _NO_VERSION, 409: _NOT_NOW})
    def move_alias(
        model_name: Name, alias: Annotated[str, Path(max_length=40, examples=["champion"])], body: AliasBody,
        actor: Registrar,
    ) -> AliasView:  # fmt: skip
        """Let an alias name a version from here on; `champion` is the one that a bare name means."""
        return catalogue.move_alias(model_name, alias, body, actor)

    @routes.put("/models/{model_name}/versions/{version}/active", responses={404: _NO_VERSION})
    def set_active(
        model_name: Name, version: Annotated[str, Path(max_length=64)], body: StandingBody, actor: Registrar
    ) -> RegisteredView:
        """Serve a version, or serve it no more."""
        return catalogue.set_active(model_name, version, body, actor)

    @routes.get("/predictions/latest", dependencies=[MAY_READ])
    def latest(
        model_name: Annotated[str | None, Query(max_length=64, examples=["baseline"])] = None,
        horizon: Annotated[int | None, Query(ge=1, description="Hours.", examples=[24])] = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 10,
    ) -> ForecastList:
        """The newest saved predictions, and what came of them."""
        return catalogue.latest(model_name, horizon, limit)

    return routes
