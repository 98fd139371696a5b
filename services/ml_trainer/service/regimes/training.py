"""One run from claim to verdict."""

import os
from collections.abc import Collection

from services.ml_trainer.service.attempt import Attempt
from services.ml_trainer.service.fitting import FitFailed
from services.ml_trainer.service.job import RegimeJob
from services.ml_trainer.service.projection import Projection
from services.ml_trainer.service.publishing import Publishing
from services.ml_trainer.service.regimes.challenger import CHAMPION_SCORE, Champion, RegimeChallenger, champion_score
from services.ml_trainer.service.regimes.cleanup import delete_processed
from services.ml_trainer.service.regimes.gather import Window, sliding_window, strict_window, usable
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.errors import NotEnoughData
from tidewheel.contracts.states import ClaimState, Origin, RunState
from tidewheel.contracts.verdicts import Verdict
from tidewheel.features.frames import CandleFrame
from tidewheel.gates.enough import Enough
from tidewheel.gates.gate import Candidate, Gate
from tidewheel.gates.splits import Split
from tidewheel.kit.kill_metrics import watch_metric
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run, SealedFile
from tidewheel.ledger.run_lease import RunLease
from tidewheel.models.regime import RegimeModel
from tidewheel.modelstore.store import ModelStore, Staged

_log = logger(__name__)


class RegimeTraining:
    """Turns sealed candles into a published version of the consumer's family, or into a reason why not."""

    def __init__(self, ledger: Ledger, store: ModelStore, gate: Gate[Candidate], settings: TrainerSettings) -> None:
        self._ledger, self._store, self._gate, self._settings = ledger, store, gate, settings
        self._publishing = Publishing(store, gate)
        self._projection = Projection(ledger, store)

    def takes(self, consumer: str) -> bool:
        """Its own consumer's alone: whether a run is strict is a setting of that consumer's workers."""
        return consumer == self._settings.train_consumer

    def carry_out(self, attempt: Attempt) -> Run:
        """Claim, fit, judge, publish; as `Training`."""
        return self._hunted_on(attempt.lease, self._train(attempt))

    def _hunted_on(self, lease: RunLease, run: Run) -> Run:
        """A run on trial that ended well took some of the files only: the others need not wait for the next schedule.

        Nothing is ordered after a failure or a skip, so a hunt that comes to no end does not go round in circles.
        """
        if lease.on_trial and run.state in (RunState.PROMOTED, RunState.REFUSED):
            record = self._ledger.claims.consumption(run.consumer)
            if any(each.state is ClaimState.DOWNLOADED and each.attempts for each in record):
                self._ledger.runs.start_or_join(run.consumer, run.family, f"rest of run {run.id}")
        return run

    def _train(self, attempt: Attempt) -> Run:
        lease = attempt.lease
        champion = self._champion(lease.run.family)
        # A strict fit keeps the champion's scales, so the streams that it knows need not move for theirs.
        known = champion.model.scales if champion and self._settings.exactly_once else ()
        window, parts, enough = self._claim(lease, known)
        if not window.files:
            return lease.finish(RunState.SKIPPED, _no_new_data(window))
        if parts is None or not self._may_fit(lease, enough):
            return lease.finish(RunState.SKIPPED, self._too_few(enough) + _unused(window))
        try:
            payload = attempt.fit(self._job(parts, champion))
        except FitFailed as failed:
            if not failed.wants_more:
                raise
            return lease.finish(RunState.SKIPPED, failed.detail + _unused(window), acquitted=True)
        if not enough.to_judge:
            return lease.finish(RunState.SKIPPED, self._too_few(enough) + _unused(window), acquitted=True)
        challenger = RegimeChallenger(
            model=RegimeModel.from_payload(payload),
            payload=payload,
            window=window,
            split=parts,
            origins=self._origins(window),
            champion=champion,
            settings=self._settings,
        )
        run = self._publish(attempt, challenger)
        if run.state is RunState.PROMOTED:
            self._projection.follow_or_log(run.family)
        if self._settings.delete_after_process:
            delete_processed(self._ledger, self._settings.data_dir, window.files)
        return run

    def _claim(self, lease: RunLease, known: Collection[str]) -> tuple[Window, Split | None, Enough]:
        """Take the consumer's unclaimed files of its timeframe, and gather and split the bars that they stand for.

        Of files that failed together a claim gives some only, so too few bars are a reason to ask for more.
        """
        files: list[SealedFile] = []
        while True:
            before, files = (
                len(files),
                lease.claim_files(timeframe=self._settings.timeframe, strict=self._settings.exactly_once),
            )
            window, parts = usable(self._window(files), known)
            for file_id, why in window.unread.items():
                _log.error("file_unreadable", run_id=lease.run.id, file_id=file_id, detail=why)
                lease.park(file_id)
            enough = Enough.of(
                parts,
                bars=window.total,
                streams=len(window.bars),
                min_train_bars=self._settings.min_train_bars,
                min_blocks=self._gate.min_blocks,
            )
            if self._may_fit(lease, enough) or len(files) == before:
                lease.counts(len(window.files), window.new_bars, window.total)
                return window, parts, enough

    def _may_fit(self, lease: RunLease, enough: Enough) -> bool:
        """Bars that no verdict can be given on wait for more, lest they be consumed in vain.

        Files on trial are fitted all the same, in as small a company as can be: the question is who kills the fit.
        """
        return enough.to_fit and (enough.to_judge or lease.on_trial)

    def _window(self, files: list[SealedFile]) -> Window:
        settings = self._settings
        if settings.exactly_once:
            return strict_window(self._ledger, files)
        return sliding_window(self._ledger, files, settings.timeframe, settings.train_window_days)

    def _too_few(self, enough: Enough) -> str:
        has, full = "the files that wait have", ""
        if not self._settings.exactly_once:
            has, full = (
                "the window has",
                f"; where TRAIN_WINDOW_DAYS={self._settings.train_window_days} is full, raise it",
            )
        return f"{NotEnoughData.code}: {has} {enough}; the files wait for more{full}"

    def _champion(self, family: str) -> Champion | None:
        version = self._ledger.versions.champion(family)
        if version is None:
            return None
        payload = self._store.open(family, version.version).files
        return Champion(version=version.version, payload=payload, model=RegimeModel.from_payload(payload))

    def _job(self, parts: Split, champion: Champion | None) -> RegimeJob:
        settings = self._settings
        return RegimeJob(
            parent_pid=os.getpid(),
            memory_mb=settings.memory_mb,
            seed=settings.train_seed,
            restarts=settings.restarts,
            max_iter=settings.max_iter,
            strict=settings.exactly_once,
            bars={stream: CandleFrame.concat(frames, frames[0].step) for stream, frames in parts.train.items()},
            champion=champion.payload if champion else None,
        )

    def _publish(self, attempt: Attempt, challenger: RegimeChallenger) -> Run:
        lease, window = attempt.lease, challenger.window

        def write_down(staged: Staged, verdict: Verdict) -> Run:
            self._report_champion(lease.run.id, challenger, verdict)
            return lease.publish(challenger.new_version(staged), verdict, remark=_left_aside(window))

        return self._publishing.publish(lease.run.family, challenger, attempt.watch, write_down)

    def _report_champion(self, run_id: int, challenger: RegimeChallenger, verdict: Verdict) -> None:
        """Tell how the champion does on bars that nobody has seen: a limit that it breaks freezes the fleet.

        That comes before the run is published, which then promotes nothing.
        """
        score = champion_score(verdict)
        if challenger.champion is not None and score is not None:
            watch_metric(self._ledger.switches, self._settings.kill_metrics, CHAMPION_SCORE, score, f"run {run_id}")

    def _origins(self, window: Window) -> frozenset[Origin]:
        return frozenset(stream.origin for stream in self._ledger.streams.all() if stream.key in window.bars)


def _no_new_data(window: Window) -> str:
    return f"no_new_data: no sealed file waits for this consumer; ingest first{_unused(window)}"


def _unused(window: Window) -> str:
    """What of the window was of no use, where something was: its bars alone do not explain a skip then."""
    short, aside = window.short_segments, _left_aside(window)
    broken = f"; {short} of {len(window.segments)} unbroken runs of bars are too short to use" if short else ""
    return broken + (f"; {aside}" if aside else "")


def _left_aside(window: Window) -> str | None:
    """Which streams and files the run did without, in words; None where it took them all."""
    aside = [*window.aside.values(), *(f"file {each}: {why}" for each, why in window.unread.items())]
    return f"left aside: {'; '.join(aside)}" if aside else None
