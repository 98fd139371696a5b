"""One JSON text for one value, so that equal meanings have equal digests."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """The one JSON text of `value`: sorted keys, no spaces, ASCII, floats by their shortest exact form.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of `value`.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return hashlib.sha256(canonical_json(value)).hexdigest()
