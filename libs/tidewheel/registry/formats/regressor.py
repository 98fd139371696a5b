"""What every format gives, and what a library may raise over somebody's file."""

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any, Protocol

import numpy as np

from tidewheel.contracts.errors import BadBundle, BadModel
from tidewheel.features.frames import Floats

MAX_COLUMNS = 10_000  #: features, and outputs
_COUNTED = ("", "f", "x", "Column_", "feature_")  #: what libraries call columns without names, before the number
#: Named one by one, for a defect of ours should stay one; a library's own classes are added by its format. The last two
#: are numpy's, which reads the headers of arrays as Python.
_FOREIGN = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError, OSError,
    EOFError, ImportError, BufferError, struct.error, zlib.error, SyntaxError, TokenError, zipfile.BadZipFile,
)  # fmt: skip


class Regressor(Protocol):
    """A model in memory that turns rows of features into forecasts."""

    @property
    def features(self) -> int | None:
        """Columns that it wants; None where the file does not tell."""

    @property
    def outputs(self) -> int:
        """Columns that it answers."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of its columns, as they were called where it was fitted; None where the file does not tell."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""

    def predict(self, rows: Floats) -> Floats:
        """[n, features] -> [n, outputs], in float64.

        Raises:
            BadModel: it cannot answer these rows, or not with finite numbers of that shape.
        """


def names_of(raw: Iterable[Any], features: int) -> tuple[str, ...] | None:
    """Names of columns that somebody gave; None where there is none, or a library has only counted them.

    Raises:
        BadModel: they are not one text for each of `features` columns.
    """
    names = tuple(raw)
    if not names:
        return None
    if len(names) != features or not all(isinstance(name, str) for name in names):
        raise BadModel(f"it names {len(names)} columns, not each of its {features} by a text")
    counted = any(names == tuple(f"{prefix}{place}" for place in range(features)) for prefix in _COUNTED)
    return None if counted else names


@contextmanager
def refusing(what: str, *classes: type[Exception]) -> Iterator[None]:
    """Turn what a library raises over a file into a refusal.

    Raises:
        BadModel: in place of it.
    """
    try:
        yield
    except BadModel:
        raise
    except BadBundle as refused:  # the checks of zip, JSON and arrays that we share with bundles
        raise BadModel(f"{what}: {refused.detail}") from None
    except _FOREIGN + classes as error:
        text = " ".join(str(error).split())[:300]
        raise BadModel(f"{what}: {type(error).__name__}: {text}") from None


def answered(raw: object, rows: Floats, outputs: int) -> Floats:
    """A library's answer as [n, outputs].

    Raises:
        BadModel: it has another shape, or is not finite.
    """
    values = np.asarray(raw, dtype=np.float64)
    if values.size != len(rows) * outputs or (values.ndim > 0 and len(values) != len(rows)):
        raise BadModel(f"the model answered shape {values.shape} to {len(rows)} rows, not {outputs} outputs each")
    if not np.isfinite(values).all():
        raise BadModel("the model answered NaN or infinity to finite features")
    return values.reshape(len(rows), outputs)


@dataclass(frozen=True, eq=False, slots=True)
class Booster:
    """Boosted trees of a native library, which is asked only for rows as wide as its trees expect."""

    features: int
    outputs: int
    names: tuple[str, ...] | None
    nbytes: int
    ask: Callable[[Floats], object]  #: the library's own answer to rows

    def predict(self, rows: Floats) -> Floats:
        """See `Regressor`."""
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise BadModel(f"the model wants {self.features} features, not rows of shape {rows.shape}")
        with refusing("the booster cannot answer"):
            return answered(self.ask(rows), rows, self.outputs)
