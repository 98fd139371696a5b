"""Loaded models by digest: each loaded once, however many ask at the same time, and bounded in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What tells its size."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""


M = TypeVar("M", bound=Sized)
_OVERHEAD_BYTES = 64 * 1024  #: of a model beside its numbers


class KeptModels(Generic[M]):
    """The models used last, as many as fit into `max_bytes`; one that is larger than that is served and not kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, M] = OrderedDict()
        self._loading: dict[str, Future[M]] = {}
        self._bytes = 0

    def get(self, digest: str, load: Callable[[], M]) -> M:
        """The model with this digest; `load` makes it where it is not kept, in one of the threads that ask.

        What `load` raises reaches everybody who waited for it, and the next one tries again.
        """
        with self._lock:
            kept = self._kept.get(digest)
            if kept is not None:
                self._kept.move_to_end(digest)
                return kept
            waited_for = self._loading.get(digest)
            if waited_for is None:
                mine: Future[M] = Future()
                self._loading[digest] = mine
        if waited_for is not None:
            return waited_for.result()
        return self._load(digest, load, mine)

    def drop(self, digest: str) -> None:
        """Have the model loaded anew by whoever asks next."""
        with self._lock:
            dropped = self._kept.pop(digest, None)
            self._bytes -= 0 if dropped is None else _size(dropped)

    def _load(self, digest: str, load: Callable[[], M], mine: "Future[M]") -> M:
        try:
            model = load()
        except BaseException as failed:
            with self._lock:
                del self._loading[digest]
            mine.set_exception(failed)
            raise
        with self._lock:
            del self._loading[digest]
            self._keep(digest, model)
        mine.set_result(model)
        return model

    def _keep(self, digest: str, model: M) -> None:
        if _size(model) > self._max_bytes:
            return
        self._kept[digest] = model
        self._bytes += _size(model)
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)


def _size(model: Sized) -> int:
    return model.nbytes + _OVERHEAD_BYTES
