"""What the API may ask: start a run, follow it, end it, and move the champion."""

import asyncio
import time

from services.ml_trainer.schemas import ChampionView, ModelView, PromotionView, ReplicaView, RunMetadata, RunView
from services.ml_trainer.service.projection import Projection
from tidewheel.contracts.errors import BadInput, NotAuthorised, NotFound
from tidewheel.contracts.states import RunState
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Promotion, Run
from tidewheel.modelstore.store import ModelStore

_LOOK_SECONDS = 0.15


class Runs:
    """Training runs of one consumer, through the ledger; the work itself is done by the role `trainer`."""

    def __init__(self, ledger: Ledger, consumer: str) -> None:
        self._ledger, self._consumer = ledger, consumer

    def start_or_join(self, trigger: str) -> RunView:
        """Queue a run, or join the consumer's active one."""
        run, joined = self._ledger.runs.start_or_join(self._consumer, self._consumer, trigger)
        return view(run, joined=joined)

    async def wait(self, run: RunView, seconds: float) -> RunView:
        """The run once it has ended, or as it stands after `seconds`."""
        deadline = time.monotonic() + seconds
        while not run.state.final and time.monotonic() < deadline:
            await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            run = (await asyncio.to_thread(self.get, run.run_id)).model_copy(update={"joined": run.joined})
        return run

    def get(self, run_id: int) -> RunView:
        """NotFound when there is no such run."""
        return view(self._ledger.runs.get(run_id))

    def newest(self, limit: int) -> list[RunView]:
        """Runs of all consumers, newest first."""
        return [view(run) for run in self._ledger.runs.list(limit)]

    def cancel(self, run_id: int, actor: str) -> RunView:
        """End a run: at once when it is queued, else its worker kills the fit within seconds."""
        return view(self._ledger.runs.cancel(run_id, actor))


class Champion:
    """The version that a family serves, and moving it by hand."""

    def __init__(self, ledger: Ledger, store: ModelStore, family: str) -> None:
        self._ledger, self._family = ledger, family
        self._projection = Projection(ledger, store)

    def model(self) -> ModelView:
        """What should be served, where it comes from, and who serves what."""
        promotion = next(iter(self._promotions()), None)
        version = None if promotion is None else self._ledger.versions.get(self._family, promotion.version)
        replicas = [ReplicaView.model_validate(replica) for replica in self._ledger.replicas.live(self._family)]
        if promotion is None or version is None:
            return ModelView(
                family=self._family, desired=None, champion=None, metrics={}, lineage={}, replicas=replicas
            )
        champion = ChampionView(
            version=version.version,
            digest=version.digest,
            data_as_of=version.data_as_of,
            seed=version.seed,
            code_digest=version.code_digest,
            parent=version.parent,
            origin=version.origin,
            promoted_at=promotion.created_at,
            promoted_by=promotion.actor,
            action=promotion.action,
            reason=promotion.reason,
            forced=promotion.forced,
        )
        return ModelView(
            family=self._family,
            desired=promotion.version,
            champion=champion,
            metrics=dict(version.metrics),
            lineage=dict(version.lineage),
            replicas=replicas,
        )

    def promote(self, version: str, *, actor: str, reason: str | None, force: bool, admin: bool) -> PromotionView:
        """Make `version` the champion. Against its verdict only by force, which takes an admin and a reason.

        Raises:
            NotFound: no such version.
            Conflict: its verdict did not pass, or synthetic data would serve where the source is a real exchange.
            NotAuthorised, BadInput: force without the scope admin, or without a reason.
        """
        if force and not admin:
            raise NotAuthorised(f"force=true needs the scope admin, which {actor} lacks", scope="admin")
        if force and not (reason or "").strip():
            raise BadInput("force=true needs a reason; add &reason=... to say why the gate is overruled")
        if self._ledger.versions.get(self._family, version) is None:
            raise NotFound(f"version {version!r} of {self._family} does not exist; GET /runs names those that do")
        moved = self._ledger.versions.promote(self._family, version, actor, reason or "promoted by hand", force=force)
        return self._followed(moved)

    def rollback(self, *, actor: str, reason: str | None, to: str | None) -> PromotionView:
        """Go back to the previous champion, or to the earlier one named `to`."""
        return self._followed(
            self._ledger.versions.rollback(self._family, actor, reason or "rolled back by hand", to=to)
        )

    def _followed(self, promotion: Promotion) -> PromotionView:
        self._projection.follow(self._family)
        return PromotionView.model_validate(promotion)

    def _promotions(self) -> list[Promotion]:
        return sorted(self._ledger.versions.promotions(self._family), key=lambda promotion: -promotion.id)


def view(run: Run, *, joined: bool = False) -> RunView:
    """The run as the API tells it."""
    return RunView(
        run_id=run.id,
        state=run.state,
        status=run.state if run.state.final else RunState.RUNNING,
        consumer=run.consumer,
        family=run.family,
        trigger=run.trigger,
        joined=joined,
        version=run.version,
        verdict=run.verdict,
        metadata=RunMetadata(
            claimed_files=run.claimed_files, new_bars=run.new_bars, window_bars=run.window_bars, reason=run.reason
        ),
        progress=dict(run.progress),
        attempts=run.attempts,
        cancel_requested=run.cancel_requested,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )
