"""One attempt at a run, as its training sees it: the lease, a child to fit in, a word on whether to go on."""

from dataclasses import dataclass

from services.ml_trainer.service.fitting import FitChild
from services.ml_trainer.service.job import Job
from services.ml_trainer.service.watch import Watch
from tidewheel.ledger.records import Run
from tidewheel.ledger.run_lease import RunLease


@dataclass(frozen=True, eq=False, slots=True)
class Attempt:
    """What `Trainer` hands to a training; it lasts until the run has ended or goes back to the queue."""

    lease: RunLease
    watch: Watch
    child: FitChild

    @property
    def run(self) -> Run:
        """The run, as it was last read or written here."""
        return self.lease.run

    def fit(self, job: Job) -> dict[str, bytes]:
        """The payload files of the job's model, unchecked; its progress is the run's.

        Raises:
            FitFailed: the child failed or was killed.
            RunEnded, FenceLost: the work must stop; the child is dead by then.
        """
        return self.child.run(self.run.id, self.lease.lease.fence, job.lay_out, self.watch, self.lease.progress)
