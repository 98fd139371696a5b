"""Loaded models by digest: each loaded once, however many ask at the same time, and bounded in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from tidewheel.registry.formats.regressor import Regressor

_OVERHEAD_BYTES = 64 * 1024  #: of a model beside its numbers


class ModelCache:
    """The models used last, as many as fit into `max_bytes`; one that is larger than that is served and not kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Regressor] = OrderedDict()
        self._loading: dict[str, Future[Regressor]] = {}
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Memory that the kept models take, about."""
        with self._lock:
            return self._bytes

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def get(self, digest: str, load: Callable[[], Regressor]) -> Regressor:
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
                mine: Future[Regressor] = Future()
                self._loading[digest] = mine
        if waited_for is not None:
            return waited_for.result()
        return self._load(digest, load, mine)

    def _load(self, digest: str, load: Callable[[], Regressor], mine: "Future[Regressor]") -> Regressor:
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

    def _keep(self, digest: str, model: Regressor) -> None:
        if _size(model) > self._max_bytes:
            return
        self._kept[digest] = model
        self._bytes += _size(model)
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)


def _size(model: Regressor) -> int:
    return model.nbytes + _OVERHEAD_BYTES
