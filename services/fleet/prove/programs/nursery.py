"""A process that has everything imported forks workers, and replaces those that die: a fork takes milliseconds where a
new interpreter would take a second."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tidewheel.contracts.errors import Unavailable
from tidewheel.ledger.open import Ledger, open_ledger

CRASHES = "crashes"  #: file with a line for each worker that died of an error
IDLE_SECONDS = 0.02

Work = Callable[[str, int], None]  #: of a worker: its name, and the nursery's pid, for as long as which it works


def raise_workers(names: Sequence[str], work: Work, folder: Path) -> None:
    """Keep a worker of each name alive until SIGTERM; a crash leaves a line in `folder`."""
    living = {_fork(name, work): name for name in names}

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
        name = living.pop(pid)
        living[_fork(name, work)] = name
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def opened(dsn: str, folder: Path) -> Ledger:
    """The ledger, as soon as it can be opened."""
    while True:
        try:
            return open_ledger(dsn, folder)
        except Unavailable:
            time.sleep(IDLE_SECONDS)


def crash() -> None:
    """End this worker for an error of its own: printed, and told by the exit status."""
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)


def living(nursery: int) -> list[int]:
    """The workers of a nursery that are alive now; waits where all have just died."""
    import psutil

    while True:
        found = [each.pid for each in psutil.Process(nursery).children()]
        if found:
            return found
        time.sleep(0.01)


def strike(pid: int, number: signal.Signals) -> None:
    """Send a worker a signal."""
    with suppress(ProcessLookupError):  # it died before, of an earlier blow
        os.kill(pid, number)


def _fork(name: str, work: Work) -> int:
    nursery = os.getpid()
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        work(name, nursery)
    except BaseException:  # noqa: BLE001 - never back into the nursery's code
        crash()
    os.kill(os.getpid(), signal.SIGKILL)  # the nursery is gone
    return 0
