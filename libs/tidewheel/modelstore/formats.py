"""Which files a bundle may hold, and what each must look like before a loader sees it.

A safe format is not a safe loader: these checks run after the digest and before the canary. Nothing here can run code
from a file.
"""

import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadBundle

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_CONTAINERS = 200_000  #: lists and objects of one JSON file: an empty one takes 2 bytes there and 60 in memory
MAX_MEMBERS = 1_000  #: arrays of one npz file
MAX_DEPTH = 32  #: of nested JSON lists and objects
_NPY_MAGIC = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}  #: how many bytes tell the header's length
_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|](?:b1|[iu][1248]|f[248]|c8|c16))', 'fortran_order': (?:True|False), "
    rb"'shape': \(((?:[0-9]{1,18}, ?){0,63}(?:[0-9]{1,18})?)\), \}\s*"
)
_MAX_HEADER_BYTES = 10_000
_ZIP_ENTRY = b"PK\x01\x02"
_MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}\.npy")
_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,80}\.([a-z0-9]{1,12})")


def check_name(name: str) -> None:
    """Refuse a file name that no bundle may hold.

    Raises:
        BadBundle: not a plain lower-case name with an allowed ending.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _CHECKS:
        raise BadBundle(f"file {name!r} may not be in a bundle; allowed are plain lower-case names ending in {ENDINGS}")


def byte_limit(name: str) -> int:
    """The most bytes that a file of this (checked) name may have."""
    return MAX_JSON_BYTES if name.endswith(".json") else MAX_FILE_BYTES


def check_content(name: str, content: bytes) -> None:
    """Refuse content that is not what the (checked) name promises.

    Raises:
        BadBundle: says which file and why.
    """
    if len(content) > byte_limit(name):
        raise BadBundle(f"file {name} has {len(content)} bytes, more than the {byte_limit(name)} allowed")
    _CHECKS[name.rpartition(".")[2]](name, content)


def strict_json(name: str, content: bytes, *, max_depth: int = MAX_DEPTH, max_containers: int = MAX_CONTAINERS) -> Any:
    """Parse JSON without NaN, infinities, doubled keys, absurd nesting or absurdly many lists.

    Raises:
        BadBundle: says which file and why.
    """

    def no_constant(text: str) -> Any:
        raise ValueError(f"{text} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    def finite(text: str) -> float:
        value = float(text)
        if math.isinf(value):
            raise ValueError(f"{text[:30]} is beyond every number")
        return value

    if content.count(b"[") + content.count(b"{") > max_containers:
        raise BadBundle(f"file {name} holds more than {max_containers} lists and objects")
    try:
        value = json.loads(content.decode(), parse_constant=no_constant, parse_float=finite, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"file {name} is not strict JSON: {error}") from None
    level = [value]
    for _ in range(max_depth):
        level = [child for parent in level for child in _containers(parent)]
        if not level:
            return value
    raise BadBundle(f"file {name} nests deeper than {max_depth} levels")


def _containers(parent: Any) -> list[Any]:
    children = parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]


def _check_npz(name: str, content: bytes) -> None:
    """Every member is an array of plain numbers, whose header tells its true size."""
    if content.count(_ZIP_ENTRY) > MAX_MEMBERS:  # zipfile would read them all before it tells their number
        raise BadBundle(f"file {name} has more than {MAX_MEMBERS} members")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            odd = [member for member in names if _MEMBER.fullmatch(member) is None or names.count(member) > 1]
            if odd:
                raise BadBundle(f"file {name} has a member {odd[0]!r}: each is one array with a plain name of its own")
            if sum(member.file_size for member in members) > MAX_FILE_BYTES:
                raise BadBundle(f"file {name} unpacks to more than {MAX_FILE_BYTES} bytes")
            for member in members:
                with archive.open(member) as stream:
                    _check_npy(f"{name}/{member.filename}", stream, member.file_size)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise BadBundle(f"file {name} is not an npz archive: {error}") from None


def _check_npy(name: str, stream: Any, size: int) -> None:
    # numpy's own reader parses the header as Python: it takes more than numpy ever writes, and on Python before 3.11.8
    # and 3.12.2 it fails at random where two threads do so at once (CPython issue 106905).
    length_bytes = _NPY_MAGIC.get(stream.read(8))
    if length_bytes is None:
        raise BadBundle(f"array {name} is not an npy file of version 1 or 2")
    length = int.from_bytes(stream.read(length_bytes), "little")
    header = _NPY_HEADER.fullmatch(stream.read(min(length, _MAX_HEADER_BYTES)))
    if header is None:
        raise BadBundle(f"array {name} has no readable header of plain numbers; objects and records are not allowed")
    kind = np.dtype(header[1].decode())
    count = 1
    for dimension in header[2].split(b","):
        count *= int(dimension) if dimension.strip() else 1
    if stream.tell() + count * kind.itemsize != size:
        raise BadBundle(f"array {name} promises {count} values of {kind}, which is not what the file holds")


_CHECKS: Mapping[str, Callable[[str, bytes], object]] = {"json": strict_json, "npz": _check_npz}
ENDINGS = ", ".join(f".{ending}" for ending in _CHECKS)
