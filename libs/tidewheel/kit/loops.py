"""Work that a process does again and again beside its requests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidewheel.contracts.errors import TidewheelError, Unavailable
from tidewheel.kit.logs import logger


class Repeating:
    """Calls `action` every `seconds` in a thread of its own, at once when nudged; a part that is away is waited for."""

    def __init__(self, name: str, seconds: float, action: Callable[[], object]) -> None:
        self._name, self._seconds, self._action = name, seconds, action
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin with a first call."""
        self._thread.start()

    def stop(self) -> None:
        """End after the call that is running."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def nudge(self) -> None:
        """Call soon rather than at the end of the interval; returns at once."""
        self._wake.set()

    def ping(self) -> None:
        """Return while the thread lives.

        Raises:
            Unavailable: it ended by an unforeseen error, which the log shows.
        """
        if not self._thread.is_alive():
            raise Unavailable(f"{self._name} stopped; restart this process")

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            with _told(self._name):
                self._action()
            self._wake.wait(self._seconds)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Log what is away or wrong now and go on: the next round finds it mended."""
    try:
        yield
    except TidewheelError as problem:
        logger(__name__).warning("round_failed", loop=name, code=problem.code, detail=problem.detail)
