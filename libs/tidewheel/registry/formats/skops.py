"""scikit-learn estimators in skops files: a zip of JSON and plain arrays.

skops builds whatever types it is told to trust, and trusts every estimator itself. We name each type that may occur,
for each of skops' own node kinds, and look into the trees: their nodes hold raw indices that scikit-learn follows
without bounds checks.
"""

import io
import threading
import zipfile
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from tidewheel.contracts.errors import BadModel
from tidewheel.features.frames import Floats
from tidewheel.modelstore.formats import strict_json
from tidewheel.registry.formats.estimators import check_estimators
from tidewheel.registry.formats.regressor import MAX_COLUMNS, answered, names_of, refusing
from tidewheel.registry.formats.trusted import TRUSTED, TRUSTED_ESTIMATORS, UNTRUSTED_BY_SKOPS

MAX_MEMBERS = 20_000
MAX_UNPACKED_BYTES = 512 * 1024 * 1024
_MAX_SCHEMA_BYTES = 64 * 1024 * 1024
_MAX_DEPTH = 64
_MAX_CONTAINERS = 1_000_000
_MAX_ARRAY_HEADER = 10_000
_SCHEMA = "schema.json"
_ZIP_ENTRY = b"PK\x01\x02"
#: numpy parses the headers of arrays as Python, which threads may not do at once on Python before 3.11.8 and 3.12.2
#: (CPython issue 106905).
_parsing = threading.Lock()


def check(content: bytes) -> None:
    """Refuse what is no skops file of named types within limits.

    Raises:
        BadModel: says why.
    """
    with refusing("not a skops file of a regressor"), _parsing:
        _check(content)


def load(content: bytes) -> "SkopsRegressor":
    """The estimator, its trees checked, made to work in one thread.

    Raises:
        BadModel: says why not.
    """
    import skops.io
    from threadpoolctl import threadpool_limits

    with refusing("not a skops file of a regressor", _untrusted_error()), _parsing:
        unpacked = _check(content)
        estimator = skops.io.loads(content, trusted=list(UNTRUSTED_BY_SKOPS))
        threadpool_limits(1, user_api="openmp")  # gradient boosting asks OpenMP for its threads, not its parameters
        given = getattr(estimator, "feature_names_in_", ())  # the check takes them out
        check_estimators(estimator)
        features = estimator.n_features_in_
        names = names_of(np.asarray(given, dtype=object).tolist(), features)
        outputs = np.asarray(estimator.predict(np.zeros((1, features)))).size
    if not 1 <= outputs <= MAX_COLUMNS:
        raise BadModel(f"the estimator answers {outputs} outputs, not 1 to {MAX_COLUMNS}")
    return SkopsRegressor(estimator, features, outputs, names, unpacked)


class SkopsRegressor:
    """A scikit-learn estimator."""

    def __init__(self, estimator: Any, features: int, outputs: int, names: tuple[str, ...] | None, nbytes: int) -> None:
        self._estimator = estimator
        self.features: int | None = features
        self.outputs = outputs
        self.names = names
        self.nbytes = nbytes

    def predict(self, rows: Floats) -> Floats:
        """See `Regressor`."""
        with refusing("the estimator cannot answer"):
            return answered(self._estimator.predict(rows), rows, self.outputs)


def _untrusted_error() -> type[Exception]:
    from skops.io import exceptions

    return cast("type[Exception]", exceptions.UntrustedTypesFoundException)


def _check(content: bytes) -> int:
    """Check zip, schema and arrays; bytes unpacked."""
    if content.count(_ZIP_ENTRY) > MAX_MEMBERS:  # zipfile would read them all before it tells their number
        raise BadModel(f"more than {MAX_MEMBERS} members")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(set(names)) < len(names) or _SCHEMA not in names:
            raise BadModel(f"a member occurs twice, or {_SCHEMA} is missing")
        unpacked = sum(member.file_size for member in members)
        if unpacked > MAX_UNPACKED_BYTES or archive.getinfo(_SCHEMA).file_size > _MAX_SCHEMA_BYTES:
            raise BadModel(f"it unpacks to {unpacked} bytes, or its {_SCHEMA} does, which is too much")
        text = archive.read(_SCHEMA)
        schema = strict_json(_SCHEMA, text, max_depth=_MAX_DEPTH, max_containers=_MAX_CONTAINERS)
        for node in _nodes(schema):
            _check_node(node)
        if _type_of(schema) not in TRUSTED_ESTIMATORS:
            raise BadModel(f"its outermost object is {_type_of(schema)}, not a regressor of scikit-learn that we serve")
        for member in members:
            if member.filename != _SCHEMA:
                with archive.open(member) as stream:
                    _check_array(member.filename, stream, member.file_size)
    return unpacked


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object of the schema that skops would build something from."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "__loader__" in value or "__class__" in value or "__module__" in value:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_node(node: dict[str, Any]) -> None:
    loader = node.get("__loader__")
    if not isinstance(loader, str) or loader not in TRUSTED:
        raise BadModel(f"it asks for {str(loader)[:80]} of {_type_of(node)}, which we do not build from a file")
    if _type_of(node) not in TRUSTED[loader]:
        raise BadModel(
            f"it holds {_type_of(node)} ({loader}), which is not among the types that we build from a file; "
            "a model outside the list can be served as ONNX"
        )


def _type_of(node: dict[str, Any]) -> str:
    return f"{node.get('__module__')}.{node.get('__class__')}"[:200]


def _check_array(name: str, stream: Any, size: int) -> None:
    from numpy.lib import format as npy

    magic = stream.read(npy.MAGIC_LEN)
    read = {b"\x93NUMPY\x01\x00": npy.read_array_header_1_0, b"\x93NUMPY\x02\x00": npy.read_array_header_2_0}.get(magic)
    if not name.endswith(".npy") or read is None:
        raise BadModel(f"member {name[:80]!r} is not an array of numpy's version 1 or 2")
    shape, _, kind = read(stream, max_header_size=_MAX_ARRAY_HEADER)
    count = 1
    for dimension in shape:
        count *= dimension
    if kind.hasobject or count < 0 or stream.tell() + count * kind.itemsize != size:
        raise BadModel(f"array {name[:80]} holds objects, or promises {count} values, which is not what it has")
