"""The program of the proof `calls`: from seal to rollback, and from hours to a registered model, killed at one system
call after another.

One process without threads of its own forks the victim, traces it to its end, and carries its work on.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.fleet.prove.apparatus.stages import (
    CONSUMER,
    HOURLY,
    KEY,
    disk_faults,
    hours_until,
    model_faults,
    part,
    seal,
    served_faults,
    settings_at,
    store,
    training_faults,
)
from services.fleet.prove.apparatus.tracing import killed_at
from services.fleet.prove.ground import Place
from services.ml_trainer.service.fitting import FitChild, LayOut, Progress, Waits
from services.ml_trainer.service.projection import Projection
from services.ml_trainer.service.promotions import Promotions
from services.ml_trainer.service.regimes.training import RegimeTraining
from services.ml_trainer.service.registry.ordering import order
from services.ml_trainer.service.registry.training import RegistryTraining
from services.ml_trainer.service.trainer import Trainer
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.keys import BASELINE
from tidewheel.gates.gate import Gate, Saved
from tidewheel.gates.splits import split
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.models.horizons import HorizonModel
from tidewheel.models.regime import RegimeModel
from tidewheel.modelstore.steps import Digest
from tidewheel.modelstore.store import ModelStore
from tidewheel.registry.export import FILE_NAME

TOLD = "told"  #: file with a JSON line for each trial
_PATIENCE = 30.0


class Fitted(FitChild):
    """A fit whose model is there already: how the child dies is other proofs' business."""

    def __init__(self, model: Saved) -> None:
        self._payload = model.to_payload()

    def run(self, run_id: int, fence: int, lay_out: LayOut, watch: Waits, progress: Progress) -> dict[str, bytes]:
        """The model."""
        return self._payload


@dataclass(frozen=True, slots=True)
class Fits:
    """What the fits of a trial would come to."""

    regimes: Fitted
    baseline: Fitted


def main() -> None:
    """`python -m services.fleet.prove.programs.sweeper DSN FOLDER SEED TRIALS`: the calls to die at, spread evenly."""
    place = Place(sys.argv[1], Path(sys.argv[2]))
    seed, trials = int(sys.argv[3]), int(sys.argv[4])
    sweep = Sweep(place, seed)
    with (place.data_dir / TOLD).open("a", buffering=1) as told:
        sweep.trial(0)  # the first makes folders
        count = len(sweep.trial(0)[0])
        wanted = range(1, count + 1) if trials <= 0 else sorted({1 + n * count // trials for n in range(trials)})
        for done, number in enumerate(wanted, start=1):
            calls, wrong = sweep.trial(number)
            call = calls[-1] if len(calls) == number else "none"
            print(json.dumps({"done": done, "of": len(wanted), "n": number, "call": call, "wrong": wrong}), file=told)
        with sweep.opened() as ledger:
            wrong = disk_faults(ledger, sweep.settings.models_dir)
        print(json.dumps({"done": len(wanted), "of": len(wanted), "n": 0, "call": "none", "wrong": wrong}), file=told)


class Sweep:
    """One ledger and its models; each trial seals and trains one file more."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place, self.seed, self.parts = place, seed, 0
        self.settings: TrainerSettings = settings_at(place, lease_seconds=30.0)
        self.settings.trained_models_dir.mkdir(exist_ok=True)
        (self.settings.trained_models_dir / FILE_NAME).touch()  # else a process of its own writes it

    def trial(self, number: int) -> tuple[list[str], list[str]]:
        """Let a worker die at its `number`-th call and another carry on; the calls made, and what is wrong then."""
        frame = part(self.parts, self.seed)
        hours = hours_until(self.parts, self.seed)
        learnt = hours.between(None, split({"": hours}).cut)
        fits = Fits(
            Fitted(RegimeModel.fit({str(KEY): [frame]}, seed=self.parts, restarts=1)),
            Fitted(HorizonModel.fit(learnt, family=BASELINE, seed=self.settings.train_seed)),
        )
        self.parts += 1

        def work() -> None:
            with self.opened() as ledger:
                seal(ledger, frame, "victim")
                store(ledger, HOURLY, hours, "victim")
                self._train(ledger, fits)
                self._train(ledger, fits)  # nothing is left to train, so these are finished without a version
                if self.parts > 1:
                    models = ModelStore(self.settings.models_dir)
                    Promotions(ledger, models, CONSUMER).rollback(actor="victim", reason=None, to=None)

        calls = killed_at(number, work)
        with self.opened() as ledger:
            seal(ledger, frame, "next")
            store(ledger, HOURLY, hours, "next")
            self._carry_on(ledger, fits)
            wrong = served_faults(ledger, self.settings.models_dir)
            wrong += model_faults(ledger, self.settings.trained_models_dir, self.parts)
        with self.place.session() as rows:
            return calls, training_faults(rows, self.parts) + wrong

    def _train(self, ledger: Ledger, fits: Fits) -> None:
        settings = self.settings
        regimes = RegimeTraining(ledger, ModelStore(settings.models_dir), Gate([Digest()]), settings)
        registry = RegistryTraining(
            ledger, ModelStore(settings.trained_models_dir), lambda last: Gate([Digest(), last]), settings
        )
        run, _ = ledger.runs.start_or_join(CONSUMER, CONSUMER, "prove")
        Trainer(ledger, fits.regimes, [regimes], settings).run(run.id)
        run, _ = order(ledger, BASELINE, HOURLY, "prove")
        Trainer(ledger, fits.baseline, [registry], settings).run(run.id)

    def _carry_on(self, ledger: Ledger, fits: Fits) -> None:
        """What is due, as the fleet would find it: a run that is not finished, a file or an hour never trained on."""
        deadline = time.monotonic() + _PATIENCE
        while self._due() and time.monotonic() < deadline:
            self._train(ledger, fits)
            time.sleep(0.01)  # a server takes a moment to see that a client is gone
        Projection(ledger, ModelStore(self.settings.models_dir)).reconcile(CONSUMER)

    def _due(self) -> bool:
        ((open_runs, waiting, models),) = self.place.rows(
            "SELECT (SELECT count(*) FROM runs WHERE state IN ('queued', 'running')),"
            " (SELECT count(*) FROM files) - (SELECT count(*) FROM claims WHERE state = 'processed'),"
            " (SELECT count(*) FROM ml_models)"
        )
        return bool(open_runs or waiting or models < self.parts)

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        """The ledger, as a process that starts would open it."""
        ledger = open_ledger(self.place.dsn, self.place.data_dir)
        try:
            yield ledger
        finally:
            ledger.close()


if __name__ == "__main__":
    main()
