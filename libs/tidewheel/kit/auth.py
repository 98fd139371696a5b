"""Who may do what: `AUTH_MODE=dev|keys`, never the peer's address."""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from tidewheel.contracts.errors import NotAuthenticated, NotAuthorised
from tidewheel.contracts.states import Scope

_CACHE_SECONDS = 30.0  #: a revoked key works for at most this long
_CACHE_KEYS = 1_024
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class KeyRecord(Protocol):
    """What is known of an API key; its secret only as a digest."""

    @property
    def id(self) -> str:
        """Public part of the key."""

    @property
    def secret_sha256(self) -> str:
        """Hex SHA-256 of the secret part."""

    @property
    def scopes(self) -> frozenset[Scope]:
        """What the key may do."""

    @property
    def revoked_at(self) -> int | None:
        """UTC ms at which it ended, or None."""


class KeyLookup(Protocol):
    """Where keys are found: the ledger's."""

    def find(self, key_id: str) -> KeyRecord | None:
        """The key of that id, revoked or not; None when there is none."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks."""

    name: str  #: `key:<id>`, or `dev` when AUTH_MODE=dev
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the actor holds `scope`; `admin` holds all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class Doorkeeper:
    """Turns a bearer token into an actor."""

    def __init__(self, keys: KeyLookup, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._known: dict[str, tuple[float, KeyRecord]] = {}

    async def admit(self, token: str) -> Actor:
        """The actor of `twk_<id>_<secret>`.

        Raises:
            NotAuthenticated: malformed, unknown, revoked, or the secret is another one.
        """
        kind, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        if kind != "twk" or not key_id or not secret or len(token) > 256:
            raise NotAuthenticated("the key is not of the form twk_<id>_<secret>; `tidewheel keys create` makes one")
        record = await self._find(key_id)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        # Compared also where no such key exists, so that the time taken tells nothing about which ids do.
        same = hmac.compare_digest(digest, record.secret_sha256 if record else "0" * 64)
        if record is None or not same or record.revoked_at is not None:
            raise NotAuthenticated(f"key {key_id[:40]!r} is unknown, revoked or has another secret")
        return Actor(f"key:{record.id}", frozenset(record.scopes))

    async def _find(self, key_id: str) -> KeyRecord | None:
        cached = self._known.get(key_id)
        if cached and self._clock() - cached[0] < _CACHE_SECONDS:
            return cached[1]
        record = await run_in_threadpool(self._keys.find, key_id)
        if record is None:
            self._known.pop(key_id, None)
            return None
        if len(self._known) >= _CACHE_KEYS:
            self._known.clear()
        self._known[key_id] = (self._clock(), record)
        return record


DEV = Actor("dev", frozenset(Scope))
_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="`twk_<id>_<secret>`")


class _Required:
    """The dependency that `require` returns; the route sweep recognises it by its type."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Actor:
        doorkeeper: Doorkeeper | None = request.app.state.doorkeeper
        if doorkeeper is None:
            return DEV
        if sent is None:
            raise NotAuthenticated("this route needs a key: send `Authorization: Bearer twk_<id>_<secret>`")
        actor = await doorkeeper.admit(sent.credentials)
        if not actor.may(self.scope):
            raise NotAuthorised(f"this route needs the scope {self.scope}, which {actor.name} lacks", scope=self.scope)
        return actor


def require(scope: Scope) -> _Required:
    """A dependency that admits only actors with `scope`, for `Depends(require(Scope.TRAIN))`; gives the `Actor`."""
    return _Required(scope)


def required_scopes(dependant: Dependant) -> set[Scope]:
    """The scopes that a route's dependencies ask for, however deep."""
    own = {dependant.call.scope} if isinstance(dependant.call, _Required) else set()
    return own.union(*(required_scopes(inner) for inner in dependant.dependencies))


def open_routes(app: FastAPI) -> list[str]:
    """The routes that change something and ask for no scope, as `POST /path`; must be empty (promise R15)."""
    found = []
    for context in iter_route_contexts(app.routes):
        methods = (context.methods or set()) - _SAFE_METHODS
        dependant = getattr(context, "dependant", None)
        if methods and (dependant is None or not required_scopes(dependant)):
            found += [f"{method} {context.path}" for method in sorted(methods)]
    return found
