"""HTTP face of the param-controller, port 8002."""

from fastapi import APIRouter, Depends

from services.param_controller.schemas import SchemaList, SchemaView
from services.param_controller.service.schema_files import Schemas
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import require
from tidewheel.kit.problems import problem

MayRead = Depends(require(Scope.READ))
_UNKNOWN = problem("unknown_strategy", "No schema describes the strategy.")


def schema_router(schemas: Schemas) -> APIRouter:
    """`GET /schemas`: the menu that every preset must keep to."""
    routes = APIRouter(tags=["parameters"], dependencies=[MayRead])

    @routes.get("/schemas")
    def list_schemas() -> SchemaList:
        """Every strategy: its parameters and their bounds, safe presets, context, reward, guardrails and policy."""
        return SchemaList(schemas=[SchemaView.of(schema) for schema in schemas.all()])

    @routes.get("/schemas/{strategy}", responses={404: _UNKNOWN})
    def get_schema(strategy: str) -> SchemaView:
        """One strategy."""
        return SchemaView.of(schemas.get(strategy))

    return routes
