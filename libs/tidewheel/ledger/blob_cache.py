"""Bars of blobs that were read before, kept in memory within a limit.

A blob is named by the digest of its content, so what is kept can never be stale: which blobs a stream has is asked of
the database each time.
"""

from collections import OrderedDict
from dataclasses import fields
from threading import Lock

import numpy as np

from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame

_BEGINNING: UtcMillis = -(2**62)
_OVERHEAD = 2_048  #: bytes of the objects around the numbers of one frame


class BlobCache:
    """The newest bars of blobs by their digests; what was not asked for longest goes first. Safe for threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[UtcMillis, CandleFrame]] = OrderedDict()
        self._bytes = 0

    def get(self, digest: str, start: UtcMillis | None) -> CandleFrame | None:
        """The blob's bars from `start` on, None where they are not kept."""
        low = _BEGINNING if start is None else start
        with self._lock:
            known = self._kept.get(digest)
            if known is None or known[0] > low:
                return None
            self._kept.move_to_end(digest)
        return known[1] if known[0] == low else known[1].between(start, None)

    def put(self, digest: str, start: UtcMillis | None, frame: CandleFrame) -> None:
        """Keep all bars of the blob from `start` on, which `frame` is."""
        # Copied: a slice would keep the whole blob in memory.
        owned = frame.take(np.arange(len(frame)))
        size = _size(owned)
        with self._lock:
            before = self._kept.pop(digest, None)
            self._bytes -= 0 if before is None else _size(before[1])
            if size <= self._max_bytes:
                self._kept[digest] = (_BEGINNING if start is None else start, owned)
                self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._bytes -= _size(oldest)

    @property
    def kept_bytes(self) -> int:
        """What it takes now."""
        return self._bytes


def _size(frame: CandleFrame) -> int:
    return _OVERHEAD + sum(int(getattr(frame, each.name).nbytes) for each in fields(frame) if each.name != "step")
