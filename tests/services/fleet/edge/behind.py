"""A role behind the edge: `python -m tests.services.fleet.edge.behind ROLE PORT`; ROLE edge is the edge itself.

The edge reads its upstreams from the environment, as in the fleet.
"""

import hashlib
import sys
from collections.abc import Iterator

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from services.fleet.edge.app import EdgeSettings, edge_app
from tidewheel.kit import logs
from tidewheel.kit.serve import serve_http
from tidewheel.kit.service import Service
from tidewheel.kit.settings import Settings, load
from tidewheel.kit.web import create_app

CHUNK = b"x" * 65_536
CHUNKS = 320


def chunks() -> Iterator[bytes]:
    """20 MiB."""
    for _ in range(CHUNKS):
        yield CHUNK


def ingester() -> APIRouter:
    """Routes of the ingester's prefixes."""
    router = APIRouter()

    @router.get("/streams/{name:path}", openapi_extra={"parameters": []})  # it takes whatever query comes
    async def seen(request: Request) -> dict[str, object]:
        return {
            "raw_path": request.scope["raw_path"].decode(),
            "query": request.scope["query_string"].decode(),
            "headers": dict(request.headers),
        }

    @router.get("/candles")
    def candles() -> StreamingResponse:
        return StreamingResponse(chunks(), media_type="text/csv")

    @router.post("/ingest_once")
    async def ingest(request: Request) -> dict[str, object]:
        size, digest = 0, hashlib.sha256()
        async for part in request.stream():
            size += len(part)
            digest.update(part)
        return {"size": size, "sha256": digest.hexdigest()}

    return router


def predictor() -> APIRouter:
    """Routes of the predictor's prefix."""
    router = APIRouter()

    @router.post("/predict")
    async def predict(body: dict[str, list[float]]) -> dict[str, int]:
        return {"n_used": len(body["logret"])}

    return router


if __name__ == "__main__":
    role, port = sys.argv[1], int(sys.argv[2])
    if role == "edge":
        settings = load(EdgeSettings, log_format="console")
        logs.configure(settings)
        serve_http(edge_app(settings), "127.0.0.1", port)
    else:
        plain = load(Settings, auth_mode="dev", bind="127.0.0.1", log_level="warning")
        logs.configure(plain, role)
        routers = [ingester() if role == "ingester" else predictor()]
        serve_http(create_app(Service(name=role, settings=plain, routers=routers)), "127.0.0.1", port)
