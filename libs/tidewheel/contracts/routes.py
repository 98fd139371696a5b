"""The one route table: which role answers which path.

The edge proxies by it, the merged OpenAPI is built from it, and a test holds it against the apps and the docs.
"""

from dataclasses import dataclass

from tidewheel.contracts.roles import Role


@dataclass(frozen=True, slots=True)
class Route:
    """All paths that are `prefix` or continue it with a slash go to `role`."""

    prefix: str
    role: Role


ROUTES: tuple[Route, ...] = (
    Route("/ingest_once", Role.INGESTER),
    Route("/streams", Role.INGESTER),
    Route("/candles", Role.INGESTER),
    Route("/backfill", Role.INGESTER),
    Route("/schemas", Role.PARAM_CONTROLLER),
    Route("/preset", Role.PARAM_CONTROLLER),
    Route("/param", Role.PARAM_CONTROLLER),
    Route("/learn", Role.PARAM_CONTROLLER),
    Route("/decisions", Role.PARAM_CONTROLLER),
    Route("/guardrails", Role.PARAM_CONTROLLER),
    Route("/posterior", Role.PARAM_CONTROLLER),
    Route("/report", Role.PARAM_CONTROLLER),
    Route("/evaluate", Role.PARAM_CONTROLLER),
    Route("/train", Role.ML_TRAINER),
    Route("/runs", Role.ML_TRAINER),
    Route("/model", Role.ML_TRAINER),
    Route("/predict", Role.PREDICTOR),
    Route("/models", Role.PREDICTOR),
    Route("/predictions", Role.PREDICTOR),
    Route("/api/bouncehunter", Role.PREDICTOR),
)


def role_for(path: str) -> Role | None:
    """The role that answers `path`, by the longest matching prefix; None when nobody does."""
    matching = [route for route in ROUTES if path == route.prefix or path.startswith(f"{route.prefix}/")]
    return max(matching, key=lambda route: len(route.prefix)).role if matching else None
