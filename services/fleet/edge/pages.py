"""The edge's own pages: probes, metrics, and one description of every role's routes."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import aiohttp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tidewheel.contracts.roles import Role
from tidewheel.contracts.routes import role_for
from tidewheel.kit.docs import docs_routes
from tidewheel.kit.metrics import PART_UP, exposition
from tidewheel.kit.problems import problem_response
from tidewheel.kit.settings import Settings

_ASK_SECONDS = 6.0
_CACHE_SECONDS = 10.0

OpenSession = Callable[[], aiohttp.ClientSession]


def own_routes(settings: Settings, upstreams: Mapping[Role, str], session: OpenSession) -> list[BaseRoute]:
    """`/health`, `/ready`, `/metrics`, `/openapi.json`, `/docs` and its assets."""
    alive = {"status": "ok", "role": "edge", "version": version("tidewheel"), "instance": settings.instance}
    descriptions = Descriptions(upstreams, session)

    async def health(_: Request) -> Response:
        return JSONResponse(alive)

    async def ready(_: Request) -> Response:
        answers = await asyncio.gather(*(_readiness(session(), role, url) for role, url in upstreams.items()))
        away = {role.value: reason for role, reason in answers if reason is not None}
        for role, reason in answers:
            PART_UP.labels("edge", role.value).set(reason is None)
        if away:
            detail = "; ".join(f"{role}: {reason}" for role, reason in sorted(away.items()))
            return problem_response(503, "not_ready", "Not available now", detail, {"Retry-After": "1"}, away=away)
        return JSONResponse({"status": "ok", "parts": sorted(role.value for role in upstreams)})

    async def metrics(_: Request) -> Response:
        body, media_type = exposition()
        return Response(body, headers={"Content-Type": media_type})

    async def openapi(_: Request) -> Response:
        return JSONResponse(await descriptions.merged())

    return [
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        *docs_routes("Tidewheel"),
    ]


async def _readiness(session: aiohttp.ClientSession, role: Role, url: str) -> tuple[Role, str | None]:
    try:
        async with asyncio.timeout(_ASK_SECONDS), session.get(f"{url}/ready") as answer:
            if answer.status == 200:
                return role, None
            return role, str((await answer.json(content_type=None)).get("detail", f"answered {answer.status}"))
    except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError) as away:
        return role, f"does not answer at {url} ({type(away).__name__})"


class Descriptions:
    """The roles' OpenAPI documents as one, kept for 10 s."""

    def __init__(self, upstreams: Mapping[Role, str], session: OpenSession) -> None:
        self._upstreams, self._session = upstreams, session
        self._kept: tuple[float, dict[str, Any]] | None = None

    async def merged(self) -> dict[str, Any]:
        """Only the paths that the route table gives to each role; `x-away` names roles that gave no document."""
        if self._kept and time.monotonic() - self._kept[0] < _CACHE_SECONDS:
            return self._kept[1]
        documents = await asyncio.gather(*(self._fetch(role) for role in sorted(self._upstreams)))
        found = {role: document for role, document in documents if document is not None}
        merged = merge(found)
        away = sorted(role.value for role, document in documents if document is None)
        if away:
            merged["x-away"] = away
        else:
            self._kept = (time.monotonic(), merged)
        return merged

    async def _fetch(self, role: Role) -> tuple[Role, dict[str, Any] | None]:
        try:
            url = f"{self._upstreams[role]}/openapi.json"
            async with asyncio.timeout(_ASK_SECONDS), self._session().get(url) as answer:
                document = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return role, None
        return role, document if isinstance(document, dict) else None


def merge(documents: Mapping[Role, dict[str, Any]]) -> dict[str, Any]:
    """One OpenAPI document. Where two roles mean different things by a schema's name, the later one's gets a prefix."""
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {}
    for role, document in documents.items():
        described = _without_clashes(role, document, components.get("schemas", {}))
        for kind, entries in described.get("components", {}).items():
            components.setdefault(kind, {}).update(entries)
        paths.update({path: item for path, item in described.get("paths", {}).items() if role_for(path) is role})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tidewheel", "version": version("tidewheel")},
        "paths": dict(sorted(paths.items())),
        "components": components,
    }


def _without_clashes(role: Role, document: dict[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    schemas = document.get("components", {}).get("schemas", {})
    clashing = [name for name, schema in schemas.items() if name in taken and taken[name] != schema]
    text = json.dumps(document)
    prefix = "".join(part.capitalize() for part in role.value.split("-"))
    for name in clashing:
        text = text.replace(f'"#/components/schemas/{name}"', f'"#/components/schemas/{prefix}{name}"')
    renamed: dict[str, Any] = json.loads(text)
    for name in clashing:
        inner = renamed["components"]["schemas"]
        inner[f"{prefix}{name}"] = inner.pop(name)
    return renamed
