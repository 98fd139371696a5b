"""Swagger UI with the assets that the `fastapi-offline` wheel carries: no page of ours loads from a CDN."""

from importlib.resources import files
from pathlib import Path

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

ASSETS = "/docs-assets"


def docs_routes(title: str) -> list[BaseRoute]:
    """`/docs` over the app's own `/openapi.json`, and its assets."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=title,
        swagger_js_url=f"{ASSETS[1:]}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS[1:]}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS[1:]}/favicon.png",
    )

    async def docs(_: Request) -> Response:
        return page

    folder = Path(str(files("fastapi_offline"))) / "static"
    return [Route("/docs", docs, include_in_schema=False), Mount(ASSETS, StaticFiles(directory=folder), name="docs")]
