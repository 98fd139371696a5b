"""Where the param-controller's parts meet."""

from services.param_controller.settings import ParamSettings
from tidewheel.contracts.roles import Role
from tidewheel.kit.service import Service
from tidewheel.ledger.open import open_ledger


def build(settings: ParamSettings) -> Service:
    """The API on port 8002.

    Raises:
        BadSetting: a strategy schema cannot be used; says where and why.
        SchemaMismatch, Unavailable: the ledger is not there.
    """
    from services.param_controller.api import schema_router
    from services.param_controller.service.schema_files import Schemas

    schemas = Schemas.of(settings.schemas_dir)
    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    return Service(
        name=Role.PARAM_CONTROLLER,
        settings=settings,
        routers=[schema_router(schemas)],
        pings=[ledger.ping],
        keys=ledger.keys,
        close=[ledger.close],
    )
