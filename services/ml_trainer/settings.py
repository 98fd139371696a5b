"""What the trainer reads from its surroundings."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, AliasChoices, Field

from tidewheel.contracts.keys import BOUNCE_CONSUMERS, FAMILY, REGISTRY_CONSUMERS
from tidewheel.contracts.roles import PORTS, Role
from tidewheel.kit.bounce import BounceSettings
from tidewheel.kit.kill_metrics import KillMetrics
from tidewheel.kit.settings import HttpAddress

_KEPT = {REGISTRY_CONSUMERS: "registered models", BOUNCE_CONSUMERS: "BounceHunter"}


def _claims(consumer: str) -> str:
    for prefix, whose in _KEPT.items():
        if consumer.startswith(prefix):
            raise ValueError(f"{prefix}... are the runs of {whose}; choose another name, such as hmm")
    return consumer


Consumer = Annotated[str, AfterValidator(_claims)]


class TrainerSettings(BounceSettings):
    """Settings of the roles `ml-trainer` (API) and `trainer` (worker)."""

    role: ClassVar[str] = Role.ML_TRAINER

    timeframe: str = Field(
        "1m",
        validation_alias=AliasChoices("TIMEFRAME", "INTERVAL"),
        description="Length of a bar: 1m, 5m, 1h. The regime model pools all streams of it.",
    )
    train_consumer: Consumer = Field(
        FAMILY,
        pattern=r"^[a-z0-9_-]{1,40}$",
        description="Who claims files, and the family that it publishes to; RETRAIN_CRON starts its runs.",
    )
    exactly_once: bool = Field(
        True, description="true: every bar is trained at most once. false: a sliding window over the archive."
    )
    train_window_days: int = Field(30, ge=1, le=3_650, description="Days of bars that a sliding retrain sees.")
    train_seed: int = Field(42, ge=0, lt=2**32, description="Seed of every retrain; the same bars give the same bytes.")
    min_train_bars: int = Field(
        1_000,
        ge=100,
        description="A run with fewer training bars is skipped, as is one whose hold-out is too short for a verdict.",
    )
    train_wait_seconds: float = Field(
        60.0, ge=0, le=600, description="How long POST /train waits for the run before it answers 202."
    )
    delete_after_process: bool = Field(
        False, description="true: the CSV of a file is deleted once every consumer has processed it."
    )
    restarts: int = Field(
        5,
        validation_alias="TIDEWHEEL_TRAIN_RESTARTS",
        ge=3,
        le=50,
        description="Fits from different starts, of which the best is kept. With one or two, the seed decides which "
        "regimes are found on some markets (labels agreed on 42 % of bars); with five they agreed.",
    )
    max_iter: int = Field(
        200, validation_alias="TIDEWHEEL_TRAIN_MAX_ITER", ge=5, le=10_000, description="EM iterations a fit may take."
    )
    memory_mb: int = Field(
        4_096, validation_alias="TIDEWHEEL_TRAIN_MEMORY_MB", ge=512, description="Address space of a fit, MiB."
    )
    lease_seconds: float = Field(
        30.0,
        validation_alias="TIDEWHEEL_TRAIN_LEASE_SECONDS",
        ge=0.5,
        le=600,
        description="How long a run stays its worker's without a heartbeat.",
    )
    upstream_predictor: HttpAddress = Field(
        f"http://127.0.0.1:{PORTS[Role.PREDICTOR]}",
        validation_alias="TIDEWHEEL_UPSTREAM_PREDICTOR",
        description="Where the edge reaches the predictor, and ml-trainer, which forwards `POST /predict`.",
    )

    kill_metrics: KillMetrics = ()

    @property
    def lease_ms(self) -> int:
        """`lease_seconds` in the ledger's unit."""
        return int(self.lease_seconds * 1_000)
