"""What a JSON body may be: bounded before it is parsed, and free of what Python's parser lets through."""

import json
import math
import re
from typing import Any, NoReturn

MAX_VALUES, MAX_MEMBERS = 50_000, 5_000  #: of a JSON body; parsing it holds up the process: here for 20 ms at most
# A JSON body is parsed a second time, strictly, only where these bytes make a flaw possible that Python's parser
# lets through: NaN, a number beyond float64, half of a surrogate pair (which no answer could repeat in UTF-8), and
# a member's name that comes twice, of which the first would be dropped.
# In the shape all digits are 0, E is e and D is d; one regular expression for it takes 70 times as long.
_SHAPE = bytes.maketrans(b"123456789ED", b"000000000ed")
_SUSPECT_SHAPES = (b"NaN", b"Infinity", b"e000", b"0" * 300, rb"\ud")
# A string, and whether it is a name. It matches at every quote and gives nothing back, so the time grows with the
# length alone, whatever is sent.
_STRING = re.compile(rb'(?s)"((?:[^"\\]++|\\.)*+)(?:"(\s*+:)?|\\?\Z)')


def flaw(body: bytes) -> str | None:
    """Why a JSON body cannot be used that parses; one that does not is left to the app's own parser."""
    if json.detect_encoding(body) != "utf-8":
        return "the body is not UTF-8, or begins with a byte order mark; send JSON as plain UTF-8"
    members = body.count(b":")
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values > MAX_VALUES or members > MAX_MEMBERS:
        return f"the body holds more than {MAX_VALUES} values or {MAX_MEMBERS} members; send it in parts"
    names = [string[1] for string in _STRING.finditer(body) if string[2]] if members > 1 else []
    repeats = len(set(names)) < len(names) or any(b"\\" in name for name in names)
    shape = body.translate(_SHAPE, b"+")
    if not repeats and not any(mark in shape for mark in _SUSPECT_SHAPES):
        return None
    try:
        value = json.loads(body, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
        json.dumps(value, ensure_ascii=False).encode()
    except _Flaw as found:
        return str(found)
    except UnicodeEncodeError:
        return "the body holds half of a surrogate pair; send text that UTF-8 can carry"
    except (ValueError, RecursionError):
        return None
    return None


class _Flaw(Exception):
    pass


def _refuse(text: str) -> NoReturn:
    raise _Flaw(f"the body holds {text[:40]}, which is not a finite number; send null, or leave the member out")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse(text)
    return number


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise _Flaw(f"the body names {ascii(name)[:60]} twice in one object; send it once")
        found[name] = value
    return found
