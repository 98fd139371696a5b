"""Where the param-controller's parts meet: the API (role param-controller) and the tasks (role worker)."""

from services.param_controller.settings import ParamSettings
from tidewheel.contracts.roles import Role
from tidewheel.kit.loops import Repeating
from tidewheel.kit.service import Service
from tidewheel.ledger.open import open_ledger


def build(settings: ParamSettings) -> Service:
    """The API on port 8002.

    Raises:
        BadSetting: a strategy schema cannot be used; says where and why.
        SchemaMismatch, Unavailable: the ledger is not there.
    """
    from services.param_controller.api import (
        decision_router,
        preset_router,
        rails_router,
        review_router,
        schema_router,
    )
    from services.param_controller.service.deciding import Deciding
    from services.param_controller.service.learning import Learning
    from services.param_controller.service.presets import Menu
    from services.param_controller.service.rails import COUNT_SECONDS, Rails
    from services.param_controller.service.regimes import CurrentRegimes
    from services.param_controller.service.schema_files import Schemas

    schemas = Schemas.of(settings.schemas_dir)
    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    deciding, learning = Deciding(ledger, schemas, CurrentRegimes(ledger)), Learning(ledger, schemas)
    rails, menu = Rails(ledger, schemas, settings.kill_metrics), Menu(ledger, schemas)
    menu.warn()
    return Service(
        name=Role.PARAM_CONTROLLER,
        settings=settings,
        routers=[
            schema_router(schemas),
            preset_router(menu),
            decision_router(deciding, learning, ledger),
            rails_router(rails, ledger),
            review_router(ledger, schemas),
        ],
        pings=[ledger.ping],
        loops=[Repeating("switch-gauge", COUNT_SECONDS, rails.count)],
        keys=ledger.keys,
        close=[ledger.close],
    )


def build_worker(settings: ParamSettings) -> Service:
    """The worker of the queue `learn`; raises as `build`."""
    from services.param_controller.service.learning import Learning
    from services.param_controller.service.schema_files import Schemas
    from services.param_controller.tasks import tasks

    schemas = Schemas.of(settings.schemas_dir)
    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    return Service(
        name=settings.role,
        settings=settings,
        tasks=tasks(Learning(ledger, schemas)),
        pings=[ledger.ping],
        keys=ledger.keys,
        close=[ledger.close],
    )
