"""Universal Binary JSON, as XGBoost writes it: read strictly, within limits.

Numbers are big-endian; an array may name one type for all its items (`[$d#L<count>...`). https://ubjson.org
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadModel

MAX_DEPTH = 32
MAX_VALUES = 2_000_000  #: outside typed arrays
_NUMBERS = {
    b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8",
}  # fmt: skip
_CONSTANTS = {b"T": True, b"F": False, b"Z": None}


def read_ubj(content: bytes) -> Any:
    """The value: dict, list, [n] array, int, float, str, bool or None.

    Raises:
        BadModel: it is malformed, cut off, too deep or too long, or a key occurs twice.
    """
    reader = _Reader(content)
    value = reader.value(reader.take(1), 0)
    if reader.place != len(content):
        raise BadModel(f"{len(content) - reader.place} bytes follow the end of the UBJ value")
    return value


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0
        self.values = 0

    def take(self, count: int) -> bytes:
        end = self.place + count
        if count < 0 or end > len(self.content):
            raise BadModel(f"the UBJ value is cut off at byte {self.place}")
        taken = self.content[self.place : end]
        self.place = end
        return taken

    def value(self, marker: bytes, depth: int) -> Any:
        self.values += 1
        if depth > MAX_DEPTH or self.values > MAX_VALUES:
            raise BadModel(f"the UBJ value nests deeper than {MAX_DEPTH} levels, or has more than {MAX_VALUES} values")
        if marker in _NUMBERS:
            return self._numbers(marker, 1)[0].item()
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        readers: dict[bytes, Callable[[int], Any]] = {b"S": self._text, b"[": self._array, b"{": self._object}
        if marker not in readers:
            raise BadModel(f"byte {self.place - 1} of the UBJ value is {marker!r}, which marks nothing")
        return readers[marker](depth)

    def _numbers(self, marker: bytes, count: int) -> Any:
        kind = np.dtype(_NUMBERS[marker])
        return np.frombuffer(self.take(count * kind.itemsize), dtype=kind).astype(kind.newbyteorder("="))

    def _count(self) -> int:
        marker = self.take(1)
        if marker not in (b"i", b"U", b"I", b"l", b"L"):
            raise BadModel(f"a length of the UBJ value is of type {marker!r}")
        count = int(self._numbers(marker, 1)[0])
        if not 0 <= count <= len(self.content):
            raise BadModel(f"the UBJ value promises {count} items")
        return count

    def _text(self, _depth: int) -> str:
        return self.take(self._count()).decode()

    def _array(self, depth: int) -> Any:
        marker, kind = self.take(1), None
        if marker == b"$":
            kind, marker = self.take(1), self.take(1)
            if kind not in _NUMBERS or marker != b"#":
                raise BadModel(f"an array of the UBJ value is of type {kind!r}")
        if marker == b"#":
            count = self._count()
            return self._numbers(kind, count) if kind else [self.value(self.take(1), depth + 1) for _ in range(count)]
        items = []
        while marker != b"]":
            items.append(self.value(marker, depth + 1))
            marker = self.take(1)
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while (marker := self.take(1)) != b"}":
            self.place -= len(marker)
            key = self._text(depth)
            if key in items:
                raise BadModel(f"key {key[:80]!r} occurs twice")
            items[key] = self.value(self.take(1), depth + 1)
        return items
