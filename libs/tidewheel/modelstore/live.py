"""Hot reload: the model that a process answers with, swapped as one reference when `current` moves.

Requests in flight keep the model they took. A version that cannot be loaded leaves the last good one in place and
shows in `error`. A flip is learnt from `nudge()` (a Redis event) or from polling readlink, never from an mtime.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tidewheel.contracts.errors import TidewheelError, Unavailable
from tidewheel.contracts.times import UtcMillis
from tidewheel.modelstore.bundle import Manifest, OpenBundle
from tidewheel.modelstore.store import ModelStore

T = TypeVar("T")
POLL_SECONDS = 1.0
RETRY_SECONDS = 15.0  #: after which a version that failed is tried again


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A model in service."""

    version: str
    model: T
    manifest: Manifest
    loaded_at: UtcMillis  #: this host's clock


class LiveModel(Generic[T]):
    """Keeps the current version of `family` loaded.

    `load` turns a verified bundle into a warmed-up model; it raises TidewheelError for one that it cannot use.
    `on_change` is told after each swap and each new error, in the polling thread.
    """

    def __init__(
        self,
        store: ModelStore,
        family: str,
        load: Callable[[OpenBundle], T],
        on_change: Callable[[], None] | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.family = family
        self._store, self._load, self._on_change, self._poll = store, load, on_change, poll_seconds
        self._loaded: Loaded[T] | None = None
        self._error: str | None = None
        self._failed: tuple[str, float] | None = None  # version, and when it may be tried again
        self._stopping, self._wake, self._refreshing = threading.Event(), threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def get(self) -> Loaded[T] | None:
        """The model in service now, or None before the first; take it once per request."""
        return self._loaded

    @property
    def error(self) -> str | None:
        """Why the current version is not the one in service, or None."""
        return self._error

    def start(self) -> None:
        """Load what is current, then watch."""
        self.refresh()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, name=f"live-{self.family}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watching; the loaded model stays."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def nudge(self) -> None:
        """Look at `current` now rather than at the next poll; returns at once."""
        self._wake.set()

    def ping(self) -> None:
        """Return while the watching goes on.

        Raises:
            Unavailable: it ended by an unforeseen error, which the log shows; restart the process.
        """
        if self._thread is None or not self._thread.is_alive():
            raise Unavailable(f"the models of {self.family} are not watched any more; restart this process")

    def refresh(self) -> bool:
        """Load the current version where another one is in service; whether anything was swapped."""
        with self._refreshing:
            before = (self._loaded, self._error)
            wanted: str | None = None
            try:
                wanted = self._store.current(self.family)
                self._follow(wanted)
            except (TidewheelError, OSError, MemoryError) as error:
                self._error = error.detail if isinstance(error, TidewheelError) else f"{wanted}: {error!r}"
                if wanted is not None:
                    self._failed = (wanted, time.monotonic() + RETRY_SECONDS)
            swapped = self._loaded is not before[0]
            if self._on_change is not None and (swapped or self._error != before[1]):
                self._on_change()
        return swapped

    def _follow(self, wanted: str | None) -> None:
        if wanted is None:
            self._error = f"no version of {self.family} is current" if self._loaded else None
            return
        if self._loaded is not None and self._loaded.version == wanted:
            self._error, self._failed = None, None
            return
        if self._failed is not None and self._failed[0] == wanted and time.monotonic() < self._failed[1]:
            return
        bundle = self._store.open(self.family, wanted)
        model = self._load(bundle)
        self._loaded = Loaded(wanted, model, bundle.manifest, time.time_ns() // 1_000_000)
        self._error, self._failed = None, None

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._poll)
            self._wake.clear()
            if not self._stopping.is_set():
                self.refresh()
