"""What the keeper reads from its surroundings."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from services.fleet.keeper.crons import check_cron
from services.ingester.settings import IngesterSettings
from services.ml_trainer.settings import Consumer
from tidewheel.contracts.keys import FAMILY
from tidewheel.contracts.roles import Role

Cron = Annotated[str, AfterValidator(check_cron)]


class KeeperSettings(IngesterSettings):
    """The ingester's view of the streams, and the timetable."""

    role: ClassVar[str] = Role.KEEPER

    ingest_cron: Cron = Field("* * * * *", description="When every stream is fetched: five cron fields in UTC, or off.")
    retrain_cron: Cron = Field("0 */6 * * *", description="When a retrain starts: five cron fields in UTC, or off.")
    registry_cron: Cron = Field(
        "15 3 * * *",
        validation_alias="TIDEWHEEL_REGISTRY_CRON",
        description="When registered models that were trained here are trained again: five cron fields in UTC, or off. "
        "The first baseline is trained as soon as there are hours enough, unless it is off.",
    )
    train_consumer: Consumer = Field(
        FAMILY,
        pattern=r"^[a-z0-9_-]{1,40}$",
        description="Who claims files, and the family that it publishes to; RETRAIN_CRON starts its runs.",
    )
    lease_seconds: float = Field(
        10.0,
        validation_alias="TIDEWHEEL_KEEPER_LEASE_SECONDS",
        ge=0.5,
        le=300,
        description="How long a silent leader stays the leader.",
    )
    hint_seconds: float = Field(
        15.0,
        validation_alias="TIDEWHEEL_HINT_SECONDS",
        ge=0.5,
        le=600,
        description="How long work may wait unclaimed before its hint is sent again.",
    )
    keep_refused: int = Field(
        5,
        validation_alias="TIDEWHEEL_KEEP_REFUSED",
        ge=0,
        description="Refused versions of a family, or of a model that was trained here, kept on disk.",
    )
