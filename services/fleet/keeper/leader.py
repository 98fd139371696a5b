"""Leadership by lease: many keepers may run, one at a time acts."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidewheel.contracts.errors import FenceLost, LeaseTaken, TidewheelError, Unavailable
from tidewheel.kit.logs import logger
from tidewheel.ledger.leases import Leases

LEASE_NAME = "keeper"
_log = logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Duty:
    """Something the leader does again and again. It must be safe to do twice, and by two at once."""

    name: str
    every: float  #: seconds between two starts
    act: Callable[[], None]


class Keeper:
    """Does its duties in one thread for as long as it holds the lease `keeper`.

    A duty that fails is logged and tried again at its next turn; the others go on.
    """

    def __init__(self, leases: Leases, owner: str, lease_seconds: float, duties: Sequence[Duty]) -> None:
        self._leases, self._owner, self._duties = leases, owner, tuple(duties)
        self._ttl_ms = int(lease_seconds * 1_000)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self.leading = threading.Event()  #: set while this keeper is the leader

    def start(self) -> None:
        """Begin to lead, or to wait for leadership."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the duty in hand and give leadership back."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def ping(self) -> None:
        """Whether the keeper still turns.

        Raises:
            Unavailable: its thread has ended.
        """
        if not self._thread.is_alive():
            raise Unavailable("the keeper's loop has ended; restart the role keeper")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._lead()
            except LeaseTaken:
                pass  # another keeper leads; its lease ends when it does
            except (FenceLost, Unavailable) as error:
                _log.warning("leadership_lost", detail=error.detail)
            self._stopping.wait(self._ttl_ms / 3_000)

    def _lead(self) -> None:
        with self._leases.hold(LEASE_NAME, self._owner, self._ttl_ms) as held:
            _log.info("leading", owner=self._owner)
            self.leading.set()
            try:
                due = dict.fromkeys((duty.name for duty in self._duties), 0.0)
                while not self._stopping.is_set() and not held.lost.is_set():
                    for duty in self._duties:
                        if time.monotonic() >= due[duty.name]:
                            due[duty.name] = time.monotonic() + duty.every
                            self._do(duty)
                    self._stopping.wait(max(0.0, min(due.values()) - time.monotonic()))
            finally:
                self.leading.clear()

    def _do(self, duty: Duty) -> None:
        try:
            duty.act()
        except (TidewheelError, OSError) as error:
            _log.error("duty_failed", duty=duty.name, error=type(error).__name__, detail=str(error))
