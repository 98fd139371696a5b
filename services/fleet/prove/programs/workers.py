"""The workers of the proof `claims`: the ledger's steps of a training run, in processes that are made to be killed."""

import os
import random
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

from services.fleet.prove.programs.nursery import IDLE_SECONDS, opened, raise_workers
from tidewheel.contracts.errors import FenceLost, Unavailable
from tidewheel.contracts.states import Origin, RunState
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import NewVersion, SealedFile
from tidewheel.ledger.run_lease import RunLease

CONSUMERS = ("hmm", "hmm-strict")
EACH = 2  #: workers of each consumer: they compete for its one run
LEASE_MS = 800

Granted = Callable[[int, int, int, int], None]  #: run, fence, and monotonic ns before the question and after the answer


def main() -> None:
    """`python -m services.fleet.prove.programs.workers DSN FOLDER`: keeps the workers alive until SIGTERM."""
    dsn, folder = sys.argv[1], Path(sys.argv[2])
    names = [consumer for consumer in CONSUMERS for _ in range(EACH)]
    raise_workers(names, lambda consumer, nursery: _work(dsn, folder, consumer, nursery), folder)


def _work(dsn: str, folder: Path, consumer: str, nursery: int) -> None:
    dice = random.Random(os.urandom(8))
    ledger = opened(dsn, folder)
    with (folder / f"grants-{secrets.token_hex(6)}").open("a", buffering=1) as grants:
        while os.getppid() == nursery:
            try:
                _attempt(ledger, consumer, dice, lambda *grant: print(*grant, file=grants))
            except (FenceLost, Unavailable):
                time.sleep(dice.uniform(0, IDLE_SECONDS))


def _attempt(ledger: Ledger, consumer: str, dice: random.Random, granted: Granted) -> None:
    run, _ = ledger.runs.start_or_join(consumer, consumer, "prove")
    asked = time.monotonic_ns()
    lease = ledger.runs.lease(run.id, f"{os.getpid()}", LEASE_MS)
    if lease is None:
        time.sleep(IDLE_SECONDS)
        return
    granted(run.id, lease.lease.fence, asked, time.monotonic_ns())
    with lease:
        files = lease.claim_files(dice.randint(1, 4))
        if not files:
            lease.finish(RunState.SKIPPED, "no_new_data")
            time.sleep(IDLE_SECONDS)
            return
        for _ in range(dice.randint(1, 3)):
            time.sleep(dice.uniform(0, 0.03))  # the fit
            lease.renew(LEASE_MS)
        if dice.random() < 0.05:
            return  # a stop in good order: the run and its files go back
        _publish(lease, files, dice.random() < 0.5)


def _publish(lease: RunLease, files: list[SealedFile], passed: bool) -> None:
    """Publish, and again where the answer was lost."""
    digest = secrets.token_hex(32)
    version = NewVersion(
        family=lease.run.family,
        version=f"v2026-01-01-{digest[:8]}",
        digest=digest,
        data_as_of=1_767_225_600_000,
        seed=1,
        code_digest="prove",
        parent=None,
        metrics={"fence": lease.lease.fence},
        lineage={"files": [file.id for file in files]},
        manifest={},
        origin=Origin.REPLAY,
    )
    verdict = Verdict(steps=(StepResult(step="champion", passed=passed, reason="drawn"),))
    try:
        lease.publish(version, verdict)
    except Unavailable:
        lease.publish(version, verdict)


if __name__ == "__main__":
    main()
