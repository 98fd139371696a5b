"""The FastAPI app of a service: problems instead of bare errors, health, readiness, metrics, vendored docs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter, run_sync
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope as AsgiScope

from tidewheel.contracts.errors import TidewheelError
from tidewheel.kit.auth import Doorkeeper, required_scopes
from tidewheel.kit.docs import docs_routes
from tidewheel.kit.envelope import SHORT, Envelope
from tidewheel.kit.logs import logger
from tidewheel.kit.metrics import PART_UP, exposition
from tidewheel.kit.problems import MEDIA_TYPE, Problem, error_response, http_problem, problem, problem_response
from tidewheel.kit.queries import refuse_unknown_query
from tidewheel.kit.service import Service

_PING_SECONDS = 5.0
_THREADS = 4  #: that carry requests out; the event loop competes with each of them for the interpreter
_HTTP_DETAILS = {
    404: "no route answers this path; /docs lists them",
    405: "the route does not answer this method; the Allow header lists those that it does",
    400: "the body could not be parsed; send JSON as /docs describes it",
}


class Json(JSONResponse):
    """JSON that never carries NaN: a number that is not finite is an error of ours and leaves as a 500."""

    def render(self, content: Any) -> bytes:
        """The bytes of `content`; ValueError where a number is not finite."""
        return super().render(content)  # JSONResponse sets allow_nan=False; FastAPI's fast path writes null instead


class _ParsedApart(Request):
    """Its JSON is parsed in a thread where it is long."""

    async def json(self) -> Any:
        """The body's value."""
        body = await self.body()
        if len(body) <= SHORT:
            return json.loads(body)
        return await run_sync(json.loads, body, limiter=self.app.state.parsing)


class LongBodyRoute(APIRoute):
    """A route whose bodies may be long."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's, with a request of ours."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(_ParsedApart(request.scope, request.receive))

        return handler


def create_app(service: Service) -> FastAPI:
    """Build the app of `service`.

    Raises:
        ValueError: a route asks for a scope, AUTH_MODE=keys, and the service names no place to find keys in.
    """
    app = FastAPI(
        title=f"tidewheel {service.name}",
        version=version("tidewheel"),
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
        redirect_slashes=False,  # a redirect would go where the request's Host header says
        lifespan=_lifespan(service),
        dependencies=[Depends(refuse_unknown_query)],
    )
    _handle_errors(app)
    _add_probes(app, service)
    for router in service.routers:
        app.include_router(router)
    app.router.routes.extend(docs_routes(app.title))
    app.state.parsing = CapacityLimiter(1)
    app.state.doorkeeper = _doorkeeper(app, service)
    app.openapi = _described(app)  # type: ignore[method-assign]
    app.add_middleware(Envelope, role=service.name, settings=service.settings, route_of=route_template)
    return app


def route_template(scope: AsgiScope) -> str:
    """The template of the route that answered, such as `/runs/{run_id}`; `unmatched` where none did."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"


def _doorkeeper(app: FastAPI, service: Service) -> Doorkeeper | None:
    if service.settings.auth_mode == "dev":
        logger(__name__).warning("auth_mode_dev", detail="every route is open; only this machine can reach it")
        return None
    if service.keys is not None:
        return Doorkeeper(service.keys)
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        if dependant is not None and required_scopes(dependant):
            raise ValueError(f"{context.path} asks for a scope, but service {service.name} names no keys")
    return None


def _lifespan(service: Service) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        log = logger(__name__)
        current_default_thread_limiter().total_tokens = _THREADS
        async with AsyncExitStack() as stack:
            for close in service.close:
                stack.push_async_callback(run_in_threadpool, close)
            for loop in service.loops:
                await run_in_threadpool(loop.start)
                stack.push_async_callback(run_in_threadpool, loop.stop)
            log.info("started")
            yield
            log.info("stopping")
            for notify in service.on_shutdown:
                await run_in_threadpool(notify)

    return lifespan


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(TidewheelError)
    async def ours(_: Request, error: TidewheelError) -> Response:
        if error.status >= 500:
            logger(__name__).warning("request_refused", code=error.code, detail=error.detail)
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def routing(_: Request, error: HTTPException) -> Response:
        stock = error.detail in ("Not Found", "Method Not Allowed", "There was an error parsing the body")
        detail = _HTTP_DETAILS.get(error.status_code, str(error.detail)) if stock else str(error.detail)
        return http_problem(error.status_code, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # `input` and `ctx` are left out: they echo NaN, secrets and megabytes.
        found = [{"loc": [*map(str, e["loc"])], "msg": e["msg"], "type": e["type"]} for e in error.errors()[:20]]
        first = found[0]
        detail = f"{'.'.join(first['loc'])}: {first['msg']}"
        return problem_response(422, "bad_input", "The input cannot be used", detail, errors=found)


def _add_probes(app: FastAPI, service: Service) -> None:
    settings = service.settings
    alive = {"status": "ok", "role": service.name, "version": app.version, "instance": settings.instance}

    @app.get("/health", tags=["probes"])
    async def health() -> Response:
        """Whether this process runs; asks nobody else."""
        return JSONResponse(alive)

    @app.get("/ready", tags=["probes"], responses={503: problem("not_ready", "A part is away; `away` names it.")})
    async def ready() -> Response:
        """Whether every part that this role needs answers; `degraded` names those that it works without."""
        asked = [*service.pings, *service.spare]
        threads = CapacityLimiter(len(asked) or 1)  # not those that requests wait for
        results = await asyncio.gather(*(_ask(ping, threads) for ping in asked))
        for name, reason in results:
            PART_UP.labels(service.name, name).set(reason is None)
        needed, spare = results[: len(service.pings)], results[len(service.pings) :]
        away = {name: reason for name, reason in needed if reason is not None}
        if away:
            detail = "; ".join(f"{name}: {reason}" for name, reason in away.items())
            return problem_response(503, "not_ready", "Not available now", detail, {"Retry-After": "1"}, away=away)
        answer: dict[str, Any] = {"status": "ok", "parts": [name for name, reason in results if reason is None]}
        degraded = {name: reason for name, reason in spare if reason is not None}
        return JSONResponse(answer | {"degraded": degraded} if degraded else answer)

    @app.get("/metrics", tags=["probes"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters in Prometheus's text format."""
        body, media_type = exposition()
        return Response(body, headers={"Content-Type": media_type})


async def _ask(ping: Callable[[], None], threads: CapacityLimiter) -> tuple[str, str | None]:
    name = getattr(ping, "__qualname__", type(ping).__name__)
    try:
        await asyncio.wait_for(run_sync(ping, limiter=threads, abandon_on_cancel=True), _PING_SECONDS)
    except TidewheelError as away:
        return name, away.detail
    except TimeoutError:
        return name, f"gave no answer within {_PING_SECONDS:.0f} s"
    except Exception as broken:  # noqa: BLE001  (whatever a part raises, the probe must answer)
        logger(__name__).exception("ping_failed", part=name)
        return name, type(broken).__name__
    return name, None


def _also(answers: dict[str, Any], status: str, code: str, description: str) -> None:
    """Describe what many routes refuse, after what the route itself says of that status."""
    own = answers.get(status)
    if own is None or MEDIA_TYPE not in own["content"]:  # FastAPI's own entry names a schema that we do not answer
        answers[status] = problem(code, description)
    else:
        own["description"] += f" Or: {description}"


def _described(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """OpenAPI in which refusals are problems, and routes with a scope say so."""
    generate = app.openapi
    scopes = {
        (context.path_format or "", method.lower()): sorted(required_scopes(context.dependant))
        for context in iter_route_contexts(app.routes)
        if getattr(context, "dependant", None) is not None
        for method in context.methods or ()
    }

    def described() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas["Problem"] = Problem.model_json_schema()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                answers = operation["responses"]
                if "probes" not in operation.get("tags", ()):
                    _also(answers, "422", "bad_input", "The input cannot be used; `errors` names each place.")
                if "requestBody" in operation:
                    _also(answers, "400", "bad_request", "The body cannot be parsed.")
                    _also(answers, "413", "content_too_large", "The body exceeds TIDEWHEEL_MAX_BODY_BYTES.")
                needed = scopes.get((path, method))
                if needed:
                    _also(answers, "401", "not_authenticated", "A key is needed.")
                    _also(answers, "403", "not_authorised", f"The key lacks the scope {needed[0]}.")
                    operation["x-scope"] = needed[0]
        app.openapi_schema = document
        return document

    return described
