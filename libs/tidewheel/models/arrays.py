"""Flat arrays of numbers as one npz file: written with one spelling, read back without believing anything.

numpy's own reader is not used: it parses a header as Python, and on Python before 3.11.8 it fails at random where two
threads do so at once (CPython issue 106905).
"""

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadBundle

MAX_BYTES = 64 << 20  #: of one file
_EPOCH = (1980, 1, 1, 0, 0, 0)  #: the earliest time that zip can write
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(rb"\{'descr': '([<|][a-z][0-9])', 'fortran_order': False, 'shape': \(([0-9]{1,9}),\), \} *\n")


def write_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """One-dimensional arrays, in this order, as an uncompressed npz; equal arrays give equal bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, values in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(values), version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), member.getvalue())
    return content.getvalue()


def read_arrays(name: str, content: bytes, kinds: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The arrays of the npz file `name`: exactly those of `kinds`, each flat and of its kind (such as `<f8`).

    Raises:
        BadBundle: the file is too large, damaged, compressed, or holds other arrays.
    """
    if len(content) > MAX_BYTES:
        raise BadBundle(f"{name} has {len(content)} bytes; a file of a model's numbers has at most {MAX_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if [member.filename for member in members] != [f"{kind}.npy" for kind in kinds]:
                raise BadBundle(f"{name} does not hold the arrays {', '.join(kinds)}, and them alone")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise BadBundle(f"{name} is compressed; a file of a model's numbers is not")
            return {
                kind: _array(f"{name}/{kind}", archive.read(member), kinds[kind])
                for kind, member in zip(kinds, members, strict=True)
            }
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise BadBundle(f"{name} is not an npz archive: {str(error)[:200]}") from None


def _array(name: str, content: bytes, kind: str) -> NDArray[Any]:
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(content[start:end]) if content.startswith(_MAGIC) else None
    if header is None or header[1].decode() != kind:
        raise BadBundle(f"{name} is not a flat array of {kind}")
    if len(content) - end != int(header[2]) * np.dtype(kind).itemsize:
        raise BadBundle(f"{name} promises {int(header[2])} values, which is not what the file holds")
    return np.frombuffer(content, dtype=kind, offset=end)
