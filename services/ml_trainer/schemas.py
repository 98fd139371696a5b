"""What the trainer's API answers."""

from typing import Any

from pydantic import ConfigDict, Field

from tidewheel.contracts.states import Origin, RunState
from tidewheel.contracts.times import UtcMillis
from tidewheel.contracts.verdicts import Verdict
from tidewheel.kit.schemas import Answer


class RunMetadata(Answer):
    """How much data a run consumed; alert on `claimed_files` staying at 0."""

    claimed_files: int = Field(
        description="Sealed files that the run claimed; 0 on an empty ledger, and of runs that claim none."
    )
    new_bars: int = Field(description="Bars in them.")
    window_bars: int = Field(description="Bars that the run saw, of all streams together.")
    reason: str | None = Field(
        description="Why the run was skipped, refused, failed or cancelled, and which streams it left aside."
    )


class RunView(Answer):
    """A training run."""

    run_id: int
    state: RunState = Field(description="The ledger's word.")
    status: RunState = Field(description="`running` until the run has ended, then its state.")
    consumer: str = Field(
        description="Who claims the files; registry-NAME for a registered model, bounce-HASH for BounceHunter."
    )
    family: str = Field(description="Whose model it trains.")
    trigger: str = Field(
        description="What asked for it: api, cron, cli:USER, scan, incremental, `enough hours` for a baseline, or "
        "`rest of run N` after half of what failed together."
    )
    joined: bool = Field(False, description="The call met an active run of the consumer and joined it.")
    version: str | None = Field(description="The version that it published, promoted or refused.")
    verdict: Verdict | None = Field(description="The gate's steps with their numbers.")
    metadata: RunMetadata
    progress: dict[str, Any] = Field(
        description="What the fit last told: restart, iteration, log likelihood; or horizon; or dips."
    )
    attempts: int = Field(description="How often a worker began it.")
    cancel_requested: bool
    created_at: UtcMillis
    started_at: UtcMillis | None
    finished_at: UtcMillis | None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "run_id": 1,
                "state": "promoted",
                "status": "promoted",
                "consumer": "hmm",
                "family": "hmm",
                "trigger": "api",
                "joined": False,
                "version": "v2026-01-11-0a1b2c3d",
                "verdict": {"steps": []},
                "metadata": {"claimed_files": 3, "new_bars": 43200, "window_bars": 43200, "reason": None},
                "progress": {"restart": 5, "restarts": 5, "iteration": 41},
                "attempts": 1,
                "cancel_requested": False,
                "created_at": 1768089600000,
                "started_at": 1768089600400,
                "finished_at": 1768089606000,
            }
        }
    )


class RunList(Answer):
    """Runs, newest first."""

    runs: list[RunView]


class ReplicaView(Answer):
    """One predictor process, by its last heartbeat."""

    id: str
    loaded: str | None = Field(description="The version that it serves.")
    error: str | None = Field(description="Why it could not load the newest one.")
    seen_at: UtcMillis


class ChampionView(Answer):
    """The version that the ledger wants served."""

    version: str
    digest: str = Field(description="SHA-256 over weights and meaning.")
    data_as_of: UtcMillis = Field(description="End of the newest bar that it was made from.")
    seed: int
    code_digest: str
    parent: str | None
    origin: Origin = Field(description="Where its bars come from.")
    promoted_at: UtcMillis
    promoted_by: str
    action: str = Field(description="promote, rollback or adopt.")
    reason: str
    forced: bool = Field(description="It was promoted against the gate's verdict.")


class ModelView(Answer):
    """What should be served, where it comes from, and who serves what."""

    family: str
    desired: str | None = Field(description="The version that the ledger's last promotion names.")
    champion: ChampionView | None
    metrics: dict[str, Any]
    lineage: dict[str, Any] = Field(description="Files, bar ranges and settings that it was made from.")
    replicas: list[ReplicaView]


class PromotionView(Answer):
    """A move of `current`."""

    family: str
    version: str
    action: str
    actor: str
    reason: str
    forced: bool
    previous: str | None = Field(description="The champion before.")
    created_at: UtcMillis
