"""What the param-controller reads from its surroundings."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

import services
from tidewheel.contracts.roles import Role
from tidewheel.kit.kill_metrics import KillMetrics
from tidewheel.kit.settings import AbsolutePath, Settings

#: Beside the packages, in a checkout and in the wheel alike.
SHIPPED = Path(services.__file__).parents[1] / "strategy_schemas"


class ParamSettings(Settings):
    """Settings of the role `param-controller`, and of a worker that takes the queue `learn`."""

    role: ClassVar[str] = Role.PARAM_CONTROLLER

    schemas_dir: AbsolutePath = Field(
        default_factory=lambda: SHIPPED,
        validation_alias="TIDEWHEEL_SCHEMAS_DIR",
        description="Folder of the strategy schemas, a YAML file each. Default: the three that come with Tidewheel.",
    )
    kill_metrics: KillMetrics = ()
