"""The child of one training run: `python -m services.ml_trainer.train.child WORK`.

It reads the job in WORK, fits, writes WORK/result and ends. Progress goes to stdout as JSON lines; the reason of a
failure is the last line on stderr. It holds no connection and knows no setting beyond its job.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from services.ml_trainer.service.fitting import OUT_OF_MEMORY
from services.ml_trainer.service.job import DipJob, ForecastJob, Job, RegimeJob, read_job, write_payload
from tidewheel.contracts.errors import TidewheelError
from tidewheel.models.bounce import BounceModel
from tidewheel.models.horizons import HORIZONS, HorizonModel
from tidewheel.models.regime import RegimeModel

_PR_SET_PDEATHSIG = 1


class Fitted(Protocol):
    """A model that can be turned into files."""

    def to_payload(self) -> dict[str, bytes]:
        """Its payload files, by name."""


def main(arguments: list[str]) -> int:
    """Fit the job in the directory `arguments[0]`; the exit status."""
    work = Path(arguments[0])
    job = read_job(work)
    _die_with(job.parent_pid)
    limit = job.memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        model = fit(job)
    except TidewheelError as error:
        return _fail(f"{error.code}: {error.detail}")
    except MemoryError:
        return _fail(
            f"{OUT_OF_MEMORY}: the fit needs more than TIDEWHEEL_TRAIN_MEMORY_MB={job.memory_mb}; raise it{job.smaller}"
        )
    write_payload(work / "result", model.to_payload())
    return 0


def fit(job: Job) -> Fitted:
    """The job's model; one seed and the same bars or dips give one model to the byte."""
    if isinstance(job, DipJob):
        return BounceModel.fit(job.rows, fewest=job.fewest)
    return _forecaster(job) if isinstance(job, ForecastJob) else _regimes(job)


def _regimes(job: RegimeJob) -> RegimeModel:
    """The champion's statistics with the new bars added when strict, else fitted on the job's bars."""
    champion = None if job.champion is None else RegimeModel.from_payload(job.champion)
    if job.strict and champion is not None:
        return champion.update(job.segments(), max_iter=job.max_iter, progress=_report)
    return RegimeModel.fit(
        job.segments(),
        seed=job.seed,
        restarts=job.restarts,
        max_iter=job.max_iter,
        progress=_report,
        champion=champion,
    )


def _forecaster(job: ForecastJob) -> HorizonModel:
    """A regressor for each horizon that has rows enough."""

    def done(horizon: int) -> None:
        _report({"horizon": horizon, "done": HORIZONS.index(horizon) + 1, "horizons": len(HORIZONS)})

    return HorizonModel.fit(job.hours, family=job.family, seed=job.seed, progress=done)


def _report(progress: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(dict(progress)) + "\n")
    sys.stdout.flush()


def _fail(sentence: str) -> int:
    sys.stderr.write(" ".join(sentence.split()) + "\n")
    return 1


def _die_with(parent_pid: int) -> None:
    """End this process when its parent ends, so that a killed worker leaves no fit behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit("the parent was gone before the fit began")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
