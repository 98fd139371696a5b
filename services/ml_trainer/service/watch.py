"""Keeping the right to work while a fit runs, and learning when it must end."""

import threading
import time
from enum import StrEnum
from types import TracebackType

from tidewheel.contracts.errors import FenceLost, Unavailable
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.run_lease import RunLease

_LOOK_SECONDS = 1.0
_log = logger(__name__)


class Ending(StrEnum):
    """Why a run's work must stop now."""

    FENCE_LOST = "fence_lost"
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"


class RunEnded(Exception):
    """The run's work must stop; `ending` says why. Never leaves the trainer."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.value)
        self.ending = ending


class Watch:
    """Renews a run's lease every third of its time in a thread, and looks for a wish to cancel every second.

    The first reason to stop wins and stays. `wait` is how the fit sleeps; `check` is asked between steps.
    """

    def __init__(self, ledger: Ledger, lease: RunLease, ttl_ms: int) -> None:
        self._ledger, self._lease, self._ttl = ledger, lease, ttl_ms
        self._ended = threading.Event()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-run-{lease.run.id}", daemon=True)
        self.ending: Ending | None = None

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def end(self, ending: Ending) -> None:
        """Ask the work to stop."""
        if self.ending is None:
            self.ending = ending
            self._ended.set()

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond the end.

        Raises:
            RunEnded: the work must stop.
        """
        self._ended.wait(seconds)
        self.check()

    def check(self) -> None:
        """Go on only if nothing speaks against it.

        Raises:
            RunEnded: the work must stop.
        """
        if self.ending is not None:
            raise RunEnded(self.ending)

    def _beat(self) -> None:
        third = self._ttl / 3_000
        renewed = time.monotonic()
        while not self._left.wait(min(_LOOK_SECONDS, third)):
            now = time.monotonic()
            try:
                if now - renewed >= third:
                    cancel = self._lease.renew(self._ttl)
                    renewed = now
                else:
                    cancel = self._ledger.runs.get(self._lease.run.id).cancel_requested
            except FenceLost:
                self.end(Ending.FENCE_LOST)
                return
            except Unavailable as error:
                # The lease outlives a short outage; past its time somebody else may own the run.
                _log.warning("lease_renewal_delayed", run_id=self._lease.run.id, error=error.detail)
                if now - renewed >= self._ttl / 1_000:
                    self.end(Ending.FENCE_LOST)
                    return
                continue
            if cancel:
                self.end(Ending.CANCELLED)
                return
