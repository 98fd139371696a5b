"""The trainer's own child, which needs more memory than it may have for bars of one file."""

import sys
from pathlib import Path

from services.ml_trainer.service.job import Job, RegimeJob
from services.ml_trainer.train import child

_fit = child.fit
_guilty = int((Path(sys.argv[1]).parent / "guilty").read_text())


def fit(job: Job) -> child.Fitted:
    """Ask for ten times the limit where the guilty file's bars are among the job's."""
    assert isinstance(job, RegimeJob)
    if any(_guilty in frame.open_time for frame in job.bars.values()):
        bytearray(job.memory_mb * 10 * 2**20)
    return _fit(job)


child.fit = fit
sys.exit(child.main(sys.argv[1:]))
