"""The skeleton of every run: leased, watched, attempted, ended once. What is trained is its training's business.

```
trainer.py      who takes the run up, when its work must stop, what an error means for it
  watch.py      keeps the lease, and looks for a wish to cancel
  attempt.py    what a training is handed
  fitting.py    the fit, in a child process
  job.py        what the child is told, and brings back
  publishing.py stage, judge, name, write down
regimes/        a training: all streams' sealed candles to a version of a regime model
registry/       a training: one stream's hours to a version of a registered model
bounce/         a training: a universe's dips to BounceHunter's entry of one configuration
```
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from services.ml_trainer.service.attempt import Attempt
from services.ml_trainer.service.fitting import FitChild, FitFailed
from services.ml_trainer.service.watch import Ending, RunEnded, Watch
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.errors import BadSetting, FenceLost, NotEnoughData, TidewheelError, Unavailable
from tidewheel.contracts.states import RunState
from tidewheel.kit.logs import logger
from tidewheel.kit.room import DiskRoom
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run
from tidewheel.ledger.run_lease import RunLease

_log = logger(__name__)


class Training(Protocol):
    """What the runs of some consumers do between lease and end."""

    def takes(self, consumer: str) -> bool:
        """Whether the consumer's runs are of this kind."""
        ...

    def carry_out(self, attempt: Attempt) -> Run:
        """The run, ended: published or finished. What it raises is judged by `Trainer`."""
        ...


class Trainer:
    """Carries runs out, one attempt at a time each."""

    def __init__(
        self, ledger: Ledger, child: FitChild, trainings: Sequence[Training], settings: TrainerSettings
    ) -> None:
        self._ledger, self._child, self._trainings, self._settings = ledger, child, tuple(trainings), settings
        self._room = DiskRoom(
            settings.disk_floor_mb,
            settings.data_dir,
            settings.models_dir,
            settings.trained_models_dir,
            settings.model_cache_dir,
        )
        self._stopping = threading.Event()
        self._watches: set[Watch] = set()

    def stop(self) -> None:
        """End every fit at once; its run goes back to the queue and its files with it. No further run starts."""
        self._stopping.set()
        for watch in tuple(self._watches):
            watch.end(Ending.SHUTDOWN)

    def run(self, run_id: int) -> Run | None:
        """Claim, fit in a child, judge, publish; None when the run is not to be had.

        It is not when it is final, when another worker has it, or when it is a consumer's that no training here
        takes: those are left to the keeper's next hint. A run that neither published nor finished here goes back to
        the queue with its files.

        Raises:
            FenceLost: another worker took the run over; nothing was written.
            Unavailable: the ledger is away, or the disk nearly full (`disk_low`): the run waits.
        """
        self._room.require()
        training = self._training(self._ledger.runs.get(run_id).consumer)
        if self._stopping.is_set() or training is None:
            return None
        lease = self._ledger.runs.lease(run_id, self._settings.instance, self._settings.lease_ms)
        if lease is None:
            return None
        with lease, self._watch(lease) as watch:
            try:
                return self._attempt(training, Attempt(lease, watch, self._child))
            except RunEnded as ended:
                _log.warning("run_given_back", run_id=run_id, ending=ended.ending)
                if ended.ending is Ending.FENCE_LOST:
                    raise FenceLost(f"the lease of run {run_id} was lost; nothing was written") from None
        return self._ledger.runs.get(run_id)

    def _training(self, consumer: str) -> Training | None:
        return next((training for training in self._trainings if training.takes(consumer)), None)

    @contextmanager
    def _watch(self, lease: RunLease) -> Iterator[Watch]:
        with Watch(self._ledger, lease, self._settings.lease_ms) as watch:
            self._watches.add(watch)
            try:
                if self._stopping.is_set():
                    watch.end(Ending.SHUTDOWN)
                yield watch
            finally:
                self._watches.discard(watch)

    def _attempt(self, training: Training, attempt: Attempt) -> Run:
        """Work on the run to its end, turning what cannot be helped by a retry into a final state."""
        lease = attempt.lease
        try:
            return training.carry_out(attempt)
        except RunEnded as ended:
            if ended.ending is Ending.CANCELLED:
                wish = self._ledger.runs.get(lease.run.id).reason
                return lease.finish(RunState.CANCELLED, wish or "cancelled")
            raise
        except FitFailed as failed:
            if failed.crashed:
                return lease.give_back(counted=True, reason=failed.detail)
            if failed.wants_more:
                return lease.finish(RunState.SKIPPED, failed.detail, acquitted=True)
            return lease.finish(RunState.FAILED, failed.detail)
        except NotEnoughData as few:
            return lease.finish(RunState.SKIPPED, f"{few.code}: {few.detail}")
        except (FenceLost, Unavailable):
            raise
        except (TidewheelError, OSError) as error:
            attempt.watch.check()
            # A folder that cannot be written, a disk that fails: no file is to blame for it.
            return lease.finish(RunState.FAILED, str(error), blamed=not isinstance(error, BadSetting | OSError))
