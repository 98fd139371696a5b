"""Settings of the predictor."""

from typing import ClassVar

from pydantic import Field

from tidewheel.contracts.keys import FAMILY
from tidewheel.contracts.roles import Role
from tidewheel.kit.bounce import BounceSettings
from tidewheel.kit.settings import CommaSeparated


class PredictorSettings(BounceSettings):
    """What `tidewheel serve predictor` reads."""

    role: ClassVar[str] = Role.PREDICTOR

    family: str = Field(
        FAMILY,
        validation_alias="TIDEWHEEL_SERVE_FAMILY",
        pattern=r"^hmm(-[a-z0-9-]+)?$",
        description="Family of regime models that /predict answers with; `hmm-strict` for the strict consumer's.",
    )
    nowcast_bars: int = Field(
        1440,
        validation_alias="TIDEWHEEL_NOWCAST_BARS",
        ge=31,
        le=100_000,
        description="Newest bars of a stream that its regime is filtered from; older ones no longer matter to it.",
    )
    symbols: CommaSeparated = Field(
        (),
        description="Symbols, the first of which in the ledger a registered model forecasts where none is named.",
    )
    scan_wait_seconds: float = Field(
        120.0,
        ge=0,
        le=240,
        description="How long a scan waits for a model that is being fitted before it answers 202; less than the edge "
        "waits for a role.",
    )
