"""Which settings a role reads, and what it is built from."""

import importlib
import os
import socket
from typing import TYPE_CHECKING, Any

from tidewheel.contracts.roles import Role

if TYPE_CHECKING:
    from tidewheel.kit.service import Service
    from tidewheel.kit.settings import Settings

_SETTINGS = {
    Role.EDGE: "services.fleet.edge.app:EdgeSettings",
    Role.INGESTER: "services.ingester.settings:IngesterSettings",
    Role.PARAM_CONTROLLER: "services.param_controller.settings:ParamSettings",
    Role.ML_TRAINER: "services.ml_trainer.settings:TrainerSettings",
    Role.PREDICTOR: "services.predictor.settings:PredictorSettings",
    Role.WORKER: "services.ingester.settings:IngesterSettings",
    Role.TRAINER: "services.ml_trainer.settings:TrainerSettings",
    Role.KEEPER: "services.fleet.keeper.settings:KeeperSettings",
    Role.FLOWER: "services.fleet.roles.flower:FlowerSettings",
}
_BUILDERS = {
    Role.INGESTER: "services.ingester.app:build",
    Role.PARAM_CONTROLLER: "services.param_controller.app:build",
    Role.ML_TRAINER: "services.ml_trainer.app:build",
    Role.PREDICTOR: "services.predictor.app:build",
    Role.WORKER: "services.fleet.roles.worker:build",
    Role.TRAINER: "services.ml_trainer.app:build_worker",
    Role.KEEPER: "services.fleet.keeper.app:build",
}

#: Roles with a FastAPI app of their own.
HTTP_ROLES = (Role.INGESTER, Role.PARAM_CONTROLLER, Role.ML_TRAINER, Role.PREDICTOR)
#: Roles that read settings of their own.
READERS = tuple(_SETTINGS)


def settings_type(role: Role) -> type["Settings"]:
    """The settings class of a role."""
    kind: type[Settings] = _load(_SETTINGS[role])
    return kind


def read_settings(role: Role) -> Any:
    """A role's settings from the environment, of its `settings_type`; the log goes where they say."""
    from tidewheel.kit.logs import configure
    from tidewheel.kit.settings import load

    kind = settings_type(role)
    # A worker reads its service's settings, and is told apart from it by its own name.
    named = kind.role == role or os.environ.get("TIDEWHEEL_INSTANCE")
    settings = load(kind) if named else load(kind, instance=f"{role}-{socket.gethostname()}-{os.getpid()}")
    configure(settings, role)
    return settings


def build(role: Role, settings: "Settings") -> "Service":
    """The parts of a role, ready to run."""
    service: Service = _load(_BUILDERS[role])(settings)
    return service


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
