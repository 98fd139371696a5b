"""The workers of the proof `claims`: the ledger's steps of a training run, in processes that are made to be killed.

One nursery process, which has everything imported, forks the workers and replaces those that die: a fork takes
milliseconds where a new interpreter would take a second.
"""

import os
import random
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tidewheel.contracts.errors import FenceLost, Unavailable
from tidewheel.contracts.states import Origin, RunState
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.ledger.records import NewVersion, SealedFile
from tidewheel.ledger.run_lease import RunLease

CONSUMERS = ("hmm", "hmm-strict")
EACH = 2  #: workers of each consumer: they compete for its one run
LEASE_MS = 800
CRASHES = "crashes"  #: file with a line for each worker that died of an error
_IDLE_SECONDS = 0.02

Granted = Callable[[int, int, int, int], None]  #: run, fence, and monotonic ns before the question and after the answer


def main() -> None:
    """`python -m services.fleet.prove.programs.workers DSN FOLDER`: keeps the workers alive until SIGTERM."""
    dsn, folder = sys.argv[1], Path(sys.argv[2])
    living = {_fork(dsn, folder, consumer): consumer for consumer in CONSUMERS for _ in range(EACH)}

    def end(number: int, frame: FrameType | None) -> None:
        for pid in living:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        pid, status = os.wait()
        # Blocked meanwhile, so that the end never misses a worker just forked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if os.WIFEXITED(status):
            with (folder / CRASHES).open("a") as crashes:
                crashes.write(f"{pid}\n")
        consumer = living.pop(pid)
        living[_fork(dsn, folder, consumer)] = consumer
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _fork(dsn: str, folder: Path, consumer: str) -> int:
    nursery = os.getpid()
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        _work(dsn, folder, consumer, nursery)
    except BaseException:  # noqa: BLE001 - printed, and told by the exit status; never back into the nursery's code
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def _work(dsn: str, folder: Path, consumer: str, nursery: int) -> None:
    dice = random.Random(os.urandom(8))
    ledger = _opened(dsn, folder)
    with (folder / f"grants-{secrets.token_hex(6)}").open("a", buffering=1) as grants:
        while os.getppid() == nursery:
            try:
                _attempt(ledger, consumer, dice, lambda *grant: print(*grant, file=grants))
            except (FenceLost, Unavailable):
                time.sleep(dice.uniform(0, _IDLE_SECONDS))
    os.kill(os.getpid(), signal.SIGKILL)


def _opened(dsn: str, folder: Path) -> Ledger:
    while True:
        try:
            return open_ledger(dsn, folder)
        except Unavailable:
            time.sleep(_IDLE_SECONDS)


def _attempt(ledger: Ledger, consumer: str, dice: random.Random, granted: Granted) -> None:
    run, _ = ledger.runs.start_or_join(consumer, consumer, "prove")
    asked = time.monotonic_ns()
    lease = ledger.runs.lease(run.id, f"{os.getpid()}", LEASE_MS)
    if lease is None:
        time.sleep(_IDLE_SECONDS)
        return
    granted(run.id, lease.lease.fence, asked, time.monotonic_ns())
    with lease:
        files = lease.claim_files(dice.randint(1, 4))
        if not files:
            lease.finish(RunState.SKIPPED, "no_new_data")
            time.sleep(_IDLE_SECONDS)
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
