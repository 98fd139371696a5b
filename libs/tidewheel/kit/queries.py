"""A query parameter that a route does not know is a slip: `?save=true` must not pass for a saved answer."""

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tidewheel.contracts.errors import BadInput


async def refuse_unknown_query(request: Request) -> None:
    """Refuse a request that names a parameter which its route does not read.

    Probes take any, for load balancers add their own; a route that describes its query itself judges it itself.

    Raises:
        BadInput: `unknown_parameter`, with those that the route reads.
    """
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    known = _known(route) if isinstance(route, APIRoute) else None
    unknown = [] if known is None else [name for name in request.query_params if name not in known]
    if unknown:
        told = f"those it has are {', '.join(sorted(known or ()))}" if known else "it has none"
        raise BadInput(f"the route has no parameter {unknown[0][:80]!r}; {told}", code="unknown_parameter")


def _known(route: APIRoute) -> frozenset[str] | None:
    """Names of the route's parameters; None where it takes what comes."""
    if "probes" in route.tags or "parameters" in (route.openapi_extra or {}):
        return None
    return frozenset(_names(route.dependant))


def _names(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_names(inner) for inner in dependant.dependencies))
