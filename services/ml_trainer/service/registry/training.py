"""One run from hours to verdict."""

import os
from collections.abc import Callable

from services.ml_trainer.service.attempt import Attempt
from services.ml_trainer.service.job import ForecastJob
from services.ml_trainer.service.publishing import Publishing
from services.ml_trainer.service.registry.challenger import ForecastChallenger, closes_digest, measured
from services.ml_trainer.service.registry.hours import hours_of
from services.ml_trainer.service.registry.opponents import Opponent, Unopposed, opponent_of
from services.ml_trainer.service.registry.ordering import family_of, needed_hours, trainable
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.errors import BadInput, NotEnoughData, TidewheelError
from tidewheel.contracts.keys import BASELINE, REGISTRY_CONSUMERS, StreamKey
from tidewheel.contracts.states import RunState
from tidewheel.contracts.times import UtcMillis
from tidewheel.contracts.verdicts import Verdict
from tidewheel.features.frames import CandleFrame
from tidewheel.gates.forecasts import ForecastCandidate, ForecastChampionStep
from tidewheel.gates.gate import Gate, Step
from tidewheel.gates.splits import split
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run, Stream
from tidewheel.models.horizons import HORIZONS, HorizonModel
from tidewheel.modelstore.code import code_digest
from tidewheel.modelstore.store import ModelStore, Staged
from tidewheel.registry.export import FILE_NAME, put_file
from tidewheel.registry.service import ModelService

NO_NEW_DATA = "no_new_data"  #: how the reason of a run begins that would only have repeated another
_log = logger(__name__)


class RegistryTraining:
    """Turns a stream's hours into a version of the model that the run is named for, or into a reason why not."""

    def __init__(
        self,
        ledger: Ledger,
        store: ModelStore,
        gate: Callable[[Step[ForecastCandidate]], Gate[ForecastCandidate]],
        settings: TrainerSettings,
    ) -> None:
        """`store` is that of TRAINED_MODELS_DIR: what is published there is served from there. `gate` ends in the
        comparison that it is given."""
        self._ledger, self._settings = ledger, settings
        self._store = store
        self._models = ModelService(store.models_dir)
        self._compared = Publishing(store, gate(ForecastChampionStep()))
        self._unopposed = Publishing(store, gate(Unopposed()))

    def takes(self, consumer: str) -> bool:
        """Those of every registered model."""
        return consumer.startswith(REGISTRY_CONSUMERS)

    def carry_out(self, attempt: Attempt) -> Run:
        """Read, fit, judge, publish; as `Training`."""
        name, stream = attempt.run.family, trainable(self._ledger, _stream(attempt.run))
        opponent = opponent_of(self._ledger, self._models, name, stream.key)
        hours = hours_of(self._ledger, stream)
        cut = _cut(stream, hours, opponent)
        if (same := self._judged_before(name, hours, cut, opponent)) is not None:
            return attempt.lease.finish(RunState.SKIPPED, f"{NO_NEW_DATA}: {same}; ingest or backfill more first")
        learnt = hours.between(None, cut)
        attempt.lease.counts(0, 0, len(learnt))
        payload = attempt.fit(
            ForecastJob(
                parent_pid=os.getpid(),
                memory_mb=self._settings.memory_mb,
                seed=self._settings.train_seed,
                family=family_of(name),
                bars={str(stream.key): learnt},
            )
        )
        model = HorizonModel.from_payload(payload)
        challenger = ForecastChallenger(
            name=name,
            model=model,
            payload=payload,
            stream=stream,
            hours=hours,
            cut=cut,
            opponent=opponent,
            errors=measured(model, hours, cut),
        )
        return self._publish(attempt, challenger)

    def _judged_before(self, name: str, hours: CandleFrame, cut: UtcMillis, opponent: Opponent) -> str | None:
        """Which version these very hours would give again, where its verdict would be the same, too; in words."""
        newest = next((row for row in self._ledger.registry.versions(name) if row.run_id is not None), None)
        refusal = None if newest is None or newest.verdict is None else newest.verdict.refusal
        if newest is None or (refusal is not None and refusal.step != ForecastChampionStep.name):  # a kill switch stood
            return None
        if not self._store.path(name, newest.version).is_dir():
            return None
        made = self._store.open(name, newest.version).manifest
        told = made.lineage.get("closes_sha256"), made.lineage.get("holdout_from"), made.seed, made.code_digest
        if told != (closes_digest(hours), cut, self._settings.train_seed, code_digest()):
            return None
        itself = f"{name} {newest.version}"
        met = opponent.name in (itself, made.lineage.get("opponent"))
        return f"{itself} was made of these very hours, and compared with {opponent.name}" if met else None

    def _publish(self, attempt: Attempt, challenger: ForecastChallenger) -> Run:
        def write_down(staged: Staged, verdict: Verdict) -> Run:
            if challenger.name == BASELINE and verdict.passed:
                self._leave_file(challenger.model)  # first: who sees the champion finds the file
            new, since = challenger.new_model(staged), challenger.opponent.since
            return attempt.lease.publish_model(new, verdict, since=since, remark=_left_out(challenger.model))

        opposed = challenger.opponent.must_be_beaten(challenger.name, challenger.model)
        publishing = self._compared if opposed else self._unopposed
        return publishing.publish(challenger.name, challenger, attempt.watch, write_down)

    def _leave_file(self, model: HorizonModel) -> None:
        """The baseline as a small file to try registration with; the version is published with or without it."""
        try:
            put_file(self._store.models_dir, model)
        except (TidewheelError, OSError) as error:
            _log.warning("baseline_file_not_written", file=FILE_NAME, reason=str(error))


def _stream(run: Run) -> StreamKey:
    key = run.params.get("stream")
    if not isinstance(key, str):
        raise BadInput(f"run {run.id} of {run.consumer} names no stream; order it by `tidewheel train registry`")
    return StreamKey.parse(key)


def _cut(stream: Stream, hours: CandleFrame, opponent: Opponent) -> UtcMillis:
    """Where the hours that the model learns from end: no later hour has its opponent learnt from, either.

    Raises:
        NotEnoughData: too few hours lie before it for any horizon.
    """
    needed = needed_hours(HORIZONS[0])
    if len(hours) < needed:
        raise NotEnoughData(
            f"{stream.key} has {len(hours)} complete hours, {needed} unbroken ones are needed: {needed - len(hours)} "
            "more; ingest or backfill them"
        )
    return max(split({str(stream.key): hours}).cut, opponent.learnt_until or 0)


def _left_out(model: HorizonModel) -> str | None:
    """Which horizons the run did without, in words."""
    told = [f"{horizon} h: {why}" for horizon, why in sorted(model.left_out.items())]
    return f"left out: {'; '.join(told)}" if told else None
