"""The edge: one address for the fleet, a reverse proxy fed by `contracts/routes.py`.

The raw path and query travel as they came, so that an instrument's `%2F` survives; bodies stream both ways.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import ClassVar

import aiohttp
from pydantic import Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from yarl import URL

from services.fleet.edge.pages import own_routes
from tidewheel.contracts.errors import NotFound, TidewheelError, Unavailable
from tidewheel.contracts.roles import PORTS, Role
from tidewheel.contracts.routes import ROUTES, role_for
from tidewheel.kit.envelope import Envelope
from tidewheel.kit.logs import logger
from tidewheel.kit.problems import error_response, http_problem
from tidewheel.kit.settings import HttpAddress, Settings

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"}
    | {b"trailer", b"trailers", b"transfer-encoding", b"upgrade"}
)
_OWN_HEADERS = frozenset({b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_WHOLE = 64 * 1024  # an answer up to this size is passed on in one piece
# Less than the 30 s for which a role keeps an idle connection: the edge lets go first, so that no request is sent
# into a connection that is being closed.
_KEEPALIVE_SECONDS = 15
_CONNECT_SECONDS = 2.0
_RETRY_PAUSE_SECONDS = 0.1
_AUTOMATIC = ("accept", "accept-encoding", "user-agent", "content-type")  # aiohttp would add these to what came


def _upstream(role: Role) -> str:
    return f"http://127.0.0.1:{PORTS[role]}"


class EdgeSettings(Settings):
    """Where the roles behind the edge listen."""

    role: ClassVar[str] = "edge"

    upstream_ingester: HttpAddress = Field(
        _upstream(Role.INGESTER),
        validation_alias="TIDEWHEEL_UPSTREAM_INGESTER",
        description="Where the edge reaches the ingester.",
    )
    upstream_param_controller: HttpAddress = Field(
        _upstream(Role.PARAM_CONTROLLER),
        validation_alias="TIDEWHEEL_UPSTREAM_PARAM_CONTROLLER",
        description="Where the edge reaches param-controller.",
    )
    upstream_ml_trainer: HttpAddress = Field(
        _upstream(Role.ML_TRAINER),
        validation_alias="TIDEWHEEL_UPSTREAM_ML_TRAINER",
        description="Where the edge reaches ml-trainer.",
    )
    upstream_predictor: HttpAddress = Field(
        _upstream(Role.PREDICTOR),
        validation_alias="TIDEWHEEL_UPSTREAM_PREDICTOR",
        description="Where the edge reaches the predictor, and ml-trainer, which forwards `POST /predict`.",
    )
    answer_seconds: float = Field(
        300.0,
        validation_alias="TIDEWHEEL_EDGE_ANSWER_SECONDS",
        gt=0,
        description="Longest silence of a role that the edge waits for, in seconds.",
    )

    def upstreams(self) -> dict[Role, str]:
        """Address of each role that the route table names."""
        roles = {route.role for route in ROUTES}
        return {role: getattr(self, f"upstream_{role.value.replace('-', '_')}") for role in roles}


class RoleAway(Unavailable):
    """The role behind a route does not accept connections."""

    code, title = "role_away", "A role is away"


class RoleBrokeOff(TidewheelError):
    """The role closed the connection before it answered."""

    code, status, title = "role_broke_off", 502, "A role broke off"


class RoleSlow(TidewheelError):
    """The role was silent for too long."""

    code, status, title = "role_slow", 504, "A role did not answer in time"


def edge_app(settings: EdgeSettings) -> ASGIApp:
    """The edge as an ASGI app; connects to nothing before its lifespan starts."""
    edge = _Edge(settings)
    return Envelope(edge, role="edge", settings=settings, route_of=edge.route_of, strict_json=False)


class _Edge:
    """Own pages first, then the route table."""

    def __init__(self, settings: EdgeSettings) -> None:
        self._upstreams = settings.upstreams()
        self._answer_seconds = settings.answer_seconds
        self._session: aiohttp.ClientSession | None = None
        pages = own_routes(settings, self._upstreams, self.session)
        self._own = Starlette(routes=pages, lifespan=self._lifespan, exception_handlers={HTTPException: _refused})
        self._own_prefixes = tuple(str(getattr(page, "path", "")) for page in pages)

    def session(self) -> aiohttp.ClientSession:
        """The pool of connections; there once the lifespan has started."""
        if self._session is None:
            raise Unavailable("the edge has not started yet")
        return self._session

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS, use_dns_cache=False)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._answer_seconds)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            skip_auto_headers=_AUTOMATIC,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
        ) as self._session:
            yield

    def route_of(self, scope: Scope) -> str:
        """The route table's prefix, or the page, or `unmatched`."""
        path = scope["path"]
        own = self._own_prefix(path)
        if own is not None:
            return own
        prefixes = [route.prefix for route in ROUTES if path == route.prefix or path.startswith(f"{route.prefix}/")]
        return max(prefixes, key=len, default="unmatched")

    def _own_prefix(self, path: str) -> str | None:
        return next((own for own in self._own_prefixes if path == own or path.startswith(f"{own}/")), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "lifespan" or self._own_prefix(scope["path"]) is not None:
            await self._own(scope, receive, send)
        else:
            try:
                await self._forward(scope, receive, send)
            except TidewheelError as error:
                await error_response(error)(scope, receive, send)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        role = role_for(scope["path"])
        if role is None:
            prefixes = sorted(route.prefix for route in ROUTES)
            known = ", ".join(prefixes)
            raise NotFound(
                f"no role answers this path; the routes begin with {known}, and /docs tells them", routes=prefixes
            )
        body = await _Body.begin(scope, receive)
        try:
            answer = await self._ask(role, scope, body)
        except TidewheelError as error:
            logger(__name__).warning("role_failed", upstream=role.value, code=error.code)
            raise
        async with answer:
            await _pass_on(answer, receive, send)

    async def _ask(self, role: Role, scope: Scope, body: "_Body") -> aiohttp.ClientResponse:
        """The role's answer, its body unread.

        Raises:
            RoleAway, RoleBrokeOff, RoleSlow: it gave none.
            HTTPException: the body that came was too long.
        """
        url = URL(self._upstreams[role] + _target(scope), encoded=True)
        headers = _request_headers(scope)
        repeatable = scope["method"] in _IDEMPOTENT and body.whole is not None
        for attempt in (1, 2):
            try:
                return await self.session().request(
                    scope["method"], url, headers=headers, data=body.data(), allow_redirects=False
                )
            except aiohttp.ClientConnectorError as away:
                # Nothing was sent, so it is safe to try any method once more: a role that restarts is back soon.
                if attempt == 1 and not body.begun:
                    await asyncio.sleep(_RETRY_PAUSE_SECONDS)
                    continue
                raise RoleAway(
                    f"{role} does not listen at {self._upstreams[role]} ({away.os_error.strerror or away.os_error}); "
                    "`tidewheel status` shows the roles",
                    role=role.value,
                    retry_after=1,
                ) from None
            except aiohttp.ServerTimeoutError:
                raise RoleSlow(f"{role} was silent for {self._answer_seconds:.0f} s", role=role.value) from None
            except aiohttp.ClientError as broken:
                if body.refused is not None:
                    raise body.refused from None
                if attempt == 1 and repeatable:
                    continue
                raise RoleBrokeOff(
                    f"{role} closed the connection before it answered ({type(broken).__name__}); "
                    "look whether it was done before you repeat it",
                    role=role.value,
                ) from None
        raise AssertionError("the second attempt returns or raises")


async def _refused(_: Request, error: Exception) -> Response:
    """A page of our own that is not there, or not to be asked so, as a problem."""
    if not isinstance(error, HTTPException):
        raise error
    return http_problem(error.status_code, str(error.detail), error.headers)


class _Body:
    """A request's body: whole where it came in one piece, else streamed once."""

    def __init__(self, first: bytes, receive: Receive | None) -> None:
        self._first, self._receive = first, receive
        self.begun = False  #: whether a part of the stream was taken, which cannot be taken again
        #: what ended the stream before its end: the body limit's refusal, or that the sender went away
        self.refused: HTTPException | ClientDisconnect | None = None

    @classmethod
    async def begin(cls, scope: Scope, receive: Receive) -> "_Body":
        if not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
            return cls(b"", None)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect  # before its body was here: nothing is forwarded
        return cls(message.get("body", b""), receive if message.get("more_body", False) else None)

    @property
    def whole(self) -> bytes | None:
        """The body, where all of it is here."""
        return self._first if self._receive is None else None

    def data(self) -> bytes | AsyncIterator[bytes] | None:
        """What to hand to the client."""
        return (self._first or None) if self._receive is None else self._stream(self._receive)

    async def _stream(self, receive: Receive) -> AsyncIterator[bytes]:
        self.begun = True
        yield self._first
        more = True
        while more:
            try:
                message = await receive()
            except HTTPException as refused:
                self.refused = refused
                raise
            if message["type"] == "http.disconnect":
                self.refused = ClientDisconnect()
                raise self.refused
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]


async def _pass_on(answer: aiohttp.ClientResponse, receive: Receive, send: Send) -> None:
    start: Message = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": list(_end_to_end(answer.raw_headers)),
    }
    if answer.content_length is not None and answer.content_length <= _WHOLE:
        body = await answer.read()
        await send(start)
        await send({"type": "http.response.body", "body": body})
        return
    await send(start)
    reader = asyncio.ensure_future(_stream(answer, send))
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((reader, gone), return_when=asyncio.FIRST_COMPLETED)
        if reader.done():
            reader.result()
    finally:
        for task in (reader, gone):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
                await task


async def _stream(answer: aiohttp.ClientResponse, send: Send) -> None:
    async for chunk in answer.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _target(scope: Scope) -> str:
    """Raw path and query, byte for byte; only what no URL may hold is encoded."""
    raw: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    target = raw.partition(b"?")[0] + (b"?" + query if query else b"")
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x23 else f"%{byte:02X}" for byte in target)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """The headers that are meant for the other end, not for the next hop."""
    kept = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in kept if name == b"connection" for part in value.split(b",")}
    return [(name, value) for name, value in kept if name not in _HOP_BY_HOP and name not in named]


def _request_headers(scope: Scope) -> list[tuple[str, str]]:
    received = [(name, value) for name, value in _end_to_end(scope["headers"]) if name not in _OWN_HEADERS]
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in received]
    before = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _OWN_HEADERS}
    peer = scope["client"][0] if scope.get("client") else "unknown"
    host = next((value for name, value in headers if name == "host"), "")
    passed_by = before.get(b"x-forwarded-for")
    return [
        *headers,
        ("x-request-id", scope["state"]["request_id"]),
        ("x-forwarded-for", f"{passed_by}, {peer}" if passed_by else peer),
        ("x-forwarded-proto", before.get(b"x-forwarded-proto", scope["scheme"])),
        ("x-forwarded-host", before.get(b"x-forwarded-host", host)),
    ]
