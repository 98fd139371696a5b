"""Reading a model's JSON as a stranger would send it: nothing is believed, every refusal is a BadBundle sentence."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from tidewheel.contracts.errors import BadBundle
from tidewheel.features.frames import Floats
from tidewheel.models.base import Payload

MODEL_FILE = "model.json"
MAX_BYTES = 1 << 20  #: a model of a thousand streams takes about 60 kB
_LARGEST = 1e12  #: no parameter or statistic of a sound model is larger


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key occurs twice")
    return members


class Document:
    """One JSON object, read member by member."""

    def __init__(self, members: dict[str, Any], where: str = MODEL_FILE) -> None:
        self._members, self._where = members, where

    @classmethod
    def read(cls, payload: Payload, *, family: str, schema: int, keys: Iterable[str]) -> "Document":
        """The object in `model.json`, the model's only file, when it is of `family` and `schema` and has `keys`.

        Raises:
            BadBundle: the file is missing, too large, not JSON, not alone, or of another shape.
        """
        if set(payload) != {MODEL_FILE}:
            raise BadBundle(f"the model's files are {sorted(payload)[:5]}; a {family} model is one {MODEL_FILE}")
        return cls.read_beside(payload, families=(family,), schema=schema, keys=keys)

    @classmethod
    def read_beside(cls, payload: Payload, *, families: Sequence[str], schema: int, keys: Iterable[str]) -> "Document":
        """The object in `model.json`, beside which there may be other files; it has exactly `keys` beside those two.

        Raises:
            BadBundle: the file is missing, too large, not JSON, or of another shape.
        """
        known = ", ".join(families)
        if MODEL_FILE not in payload:
            raise BadBundle(f"the model's files are {sorted(payload)[:5]}; {MODEL_FILE} of {known} is not among them")
        content = payload[MODEL_FILE]
        if len(content) > MAX_BYTES:
            raise BadBundle(f"{MODEL_FILE} has {len(content)} bytes; one of {known} has at most {MAX_BYTES}")
        try:
            members = json.loads(content, parse_constant=_refuse_constant, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise BadBundle(f"{MODEL_FILE} is not JSON: {str(error)[:200]}") from None
        document = cls(_object(members, MODEL_FILE))
        document.require_keys({"family", "schema", *keys})
        if document.text("family") not in families or document.count("schema") != schema:
            raise BadBundle(
                f"{MODEL_FILE} is of family {members['family']!r}, schema {members['schema']!r}; "
                f"this program reads {known}, schema {schema}"
            )
        return document

    def require_keys(self, keys: Iterable[str]) -> None:
        """Refuse missing and unknown members alike."""
        wanted, had = set(keys), set(self._members)
        missing, unknown = sorted(wanted - had), sorted(had - wanted)
        if missing or unknown:
            raise BadBundle(f"{self._where} lacks {missing[:8]} and has unknown {unknown[:8]}")

    def require_states(self, states: Sequence[str]) -> None:
        """Refuse other states than `states`, in this order."""
        if self._members["states"] != list(states):
            raise BadBundle(f"{self._where}: states are {str(self._members['states'])[:60]}, not {list(states)}")

    def inner(self, key: str) -> "Document":
        """A nested object."""
        return Document(_object(self._members[key], f"{self._where}: {key}"), f"{self._where}: {key}")

    def text(self, key: str) -> str:
        """A string."""
        value = self._members[key]
        if not isinstance(value, str):
            raise BadBundle(f"{self._where}: {key} is not a string")
        return value

    def count(self, key: str) -> int:
        """A whole number, not negative."""
        value = self._members[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
            raise BadBundle(f"{self._where}: {key} is not a whole number from 0")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        return _number(self._members[key], f"{self._where}: {key}")

    def number_or_none(self, key: str) -> float | None:
        """A finite number, or null."""
        return None if self._members[key] is None else self.number(key)

    def texts(self, key: str) -> list[str]:
        """Strings in a list of any length."""
        return [item.text("item") for item in self._items(key)]

    def counts(self, key: str) -> list[int]:
        """Whole numbers, none negative, in a list of any length."""
        return [item.count("item") for item in self._items(key)]

    def numbers(self, key: str) -> list[float]:
        """Finite numbers in a list of any length."""
        return [item.number("item") for item in self._items(key)]

    def _items(self, key: str) -> list["Document"]:
        value = self._members[key]
        if not isinstance(value, list):
            raise BadBundle(f"{self._where}: {key} is not a list")
        return [Document({"item": item}, f"{self._where}: {key}") for item in value]

    def names(self) -> list[str]:
        """The members' names."""
        return sorted(self._members)

    def array(self, key: str, shape: tuple[int, ...]) -> Floats:
        """Finite numbers in nested lists of exactly `shape`."""
        where = f"{self._where}: {key}"
        return np.array(_nested(self._members[key], shape, where), dtype=np.float64).reshape(shape)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadBundle(f"{where} is not an object")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadBundle(f"{where} is not a number")
    if not abs(value) <= _LARGEST or not math.isfinite(value):
        raise BadBundle(f"{where} is {str(value)[:30]}, beyond anything a sound model holds")
    return float(value)


def _nested(value: Any, shape: tuple[int, ...], where: str) -> Any:
    if not shape:
        return _number(value, where)
    if not isinstance(value, list) or len(value) != shape[0]:
        raise BadBundle(f"{where} has not the shape {list(shape)}")
    return [_nested(item, shape[1:], where) for item in value]
