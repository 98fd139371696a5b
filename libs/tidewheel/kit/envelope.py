"""The ASGI layer around every app: request id, limits, log line, metrics, and the last catch of errors."""

import asyncio
import math
import random
import re
import time
from collections.abc import Callable

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidewheel.contracts.errors import Overloaded
from tidewheel.kit.json_bodies import flaw
from tidewheel.kit.logs import logger
from tidewheel.kit.metrics import HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS
from tidewheel.kit.problems import error_response, http_problem, problem_response
from tidewheel.kit.settings import Settings

MAX_HEADER_BYTES = 32 * 1024
PROBES = frozenset({"/health", "/ready", "/metrics"})  #: answered however many requests are in flight
SHORT = 32 * 1024  #: bytes; what JSON is longer is looked at in a thread, as the event loop has others to answer
_SHEDDING_SECONDS = 10.0  #: without a refusal, and the next one is told in the log
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Envelope:
    """Wraps an ASGI app.

    `route_of` names the route of a finished request's scope for metrics: a template, never the raw path.
    `strict_json` refuses what Python's parser lets through: NaN, Infinity, numbers beyond float64, a name that comes
    twice in one object, other encodings than UTF-8.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        role: str,
        settings: Settings,
        route_of: Callable[[Scope], str],
        strict_json: bool = True,
    ) -> None:
        self._app, self._role, self._route_of = app, role, route_of
        self._limit, self._patience = settings.max_body_bytes, settings.client_seconds
        self._most, self._held, self._shed_at = settings.max_in_flight, 0, -math.inf
        self._checking = CapacityLimiter(1)
        self._strict_json = strict_json
        self._log = logger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent = headers.get("x-request-id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else f"{random.getrandbits(128):032x}"
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        held = scope["path"] not in PROBES
        shed = held and self._held >= self._most
        self._held += held
        HTTP_IN_FLIGHT.labels(self._role).inc()
        try:
            if shed:
                self._tell_once()
                await error_response(self._overloaded())(scope, receive, send_with_id)
            else:
                await self._answer(scope, headers, receive, send_with_id)
        except HTTPException as refused:  # the body limit, in an app that does not translate it itself
            if status:
                raise
            await http_problem(refused.status_code, refused.detail, refused.headers)(scope, receive, send_with_id)
        except ClientDisconnect:
            pass  # nobody is there to be answered; counted as 499
        except Exception:
            self._log.exception("request_failed", method=scope["method"], path=scope["path"])
            if status:
                raise  # the answer has begun; the server must break the connection off
            await _internal()(scope, receive, send_with_id)
        finally:
            self._held -= held
            HTTP_IN_FLIGHT.labels(self._role).dec()
            self._record(scope, status, time.perf_counter() - started, quiet=shed)

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            refusal = http_problem(431, f"the headers are longer than {MAX_HEADER_BYTES} bytes; send fewer")
            await refusal(scope, receive, send)
            return
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > self._limit:
            # Nothing of the body is read; closing tells the client to stop sending it.
            await http_problem(413, self._too_large(), {"connection": "close"})(scope, receive, send)
            return
        limited = self._limited(receive)
        if self._strict_json and _is_json(headers):
            body = await _read(limited)
            found = flaw(body) if len(body) <= SHORT else await run_sync(flaw, body, limiter=self._checking)
            if found:
                await problem_response(422, "bad_input", "The input cannot be used", found)(scope, receive, send)
                return
            limited = _replayed(body, receive)
        await self._app(scope, limited, send)

    def _limited(self, receive: Receive) -> Receive:
        """`receive` with an end to a body's length, and to the time that is spent waiting for it."""
        taken, left, whole = 0, self._patience, False

        async def limited() -> Message:
            nonlocal taken, left, whole
            if whole:
                return await receive()
            began = time.monotonic()
            try:
                async with asyncio.timeout(left):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, self._too_slow(), {"connection": "close"}) from None
            left -= time.monotonic() - began
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise HTTPException(413, self._too_large(), {"connection": "close"})
            whole = not message.get("more_body", False)
            return message

        return limited

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self._most} requests are in flight, the most that this role takes at once; come back in a second, "
            "start another replica, or raise TIDEWHEEL_MAX_IN_FLIGHT",
            retry_after=1,
        )

    def _too_slow(self) -> str:
        return f"the body did not arrive within {self._patience:g} s (TIDEWHEEL_CLIENT_SECONDS); send it in one go"

    def _too_large(self) -> str:
        return f"the body is longer than {self._limit} bytes; send less, or raise TIDEWHEEL_MAX_BODY_BYTES"

    def _tell_once(self) -> None:
        """A line when refusals begin: one for each would cost the time that is short."""
        now = time.monotonic()
        if now - self._shed_at > _SHEDDING_SECONDS:
            self._log.warning("shedding", in_flight=self._most, setting="TIDEWHEEL_MAX_IN_FLIGHT")
        self._shed_at = now

    def _record(self, scope: Scope, status: int, seconds: float, *, quiet: bool) -> None:
        route = self._route_of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        HTTP_REQUESTS.labels(self._role, method, route, str(status or 499)).inc()
        HTTP_SECONDS.labels(self._role, method, route).observe(seconds)
        # What went well is counted above; a line for each would cost more than many an answer.
        quiet = quiet or 200 <= status < 400
        write = self._log.debug if quiet else self._log.warning if status >= 500 else self._log.info
        write("request", method=method, path=scope["path"][:500], status=status or 499, ms=round(seconds * 1e3, 2))


def _internal() -> ASGIApp:
    return problem_response(
        500, "internal", "Something went wrong", "an error in this program; the logs name it under this request id"
    )


def _is_json(headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect  # what has come is a part, and must not pass for the whole
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
