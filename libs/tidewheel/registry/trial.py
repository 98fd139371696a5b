"""The trial: a child process checks a model file, loads it and lets it answer, so that a bad one kills nobody else.

A safe format is not a safe loader. Serving loads only bytes that a trial survived, told by their digest.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from tidewheel.contracts.errors import BadModel
from tidewheel.contracts.states import ModelFormat
from tidewheel.features.frames import Floats
from tidewheel.modelstore.limited import limit_this_process, run_limited
from tidewheel.registry.formats.kinds import check, load

MEMORY_BYTES = 2 * 1024 * 1024 * 1024  #: of addresses, of which native libraries reserve far more than they use
CPU_SECONDS = 30
TIMEOUT_SECONDS = 60.0
_MODULE = "tidewheel.registry.trial"
_REFUSED = 3
_ROWS = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What a trial saw of a model."""

    features: int  #: columns that it took
    outputs: int  #: columns that it answered
    names: tuple[str, ...] | None  #: of the columns that it takes, where the file tells
    nbytes: int  #: memory that it takes, about
    milliseconds: float  #: of one call with 16 rows, the first


def try_out(
    kind: ModelFormat,
    content: bytes,
    features: int,
    *,
    timeout: float = TIMEOUT_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
) -> Seen:
    """Check, load and ask the model in a child with limits, on fixed rows.

    They have as many columns as the file tells, or `features` where it does not.

    Raises:
        BadModel: it is refused, or the child did not survive it; says how it ended.
    """
    ended = run_limited(_MODULE, [kind.value, str(features), str(memory_bytes)], given=content, timeout=timeout)
    if ended.well:
        seen = json.loads(ended.output)
        return Seen(**seen | {"names": None if seen["names"] is None else tuple(seen["names"])})
    if ended.status == _REFUSED:
        raise BadModel(ended.output.decode())
    raise BadModel(f"the trial of the model {ended.words}")


def see(kind: ModelFormat, content: bytes, features: int) -> Seen:
    """What `try_out` does in its child; only there, or where a child is the whole point.

    Raises:
        BadModel: as `try_out`.
    """
    check(kind, content)
    model = load(kind, content)
    rows = _rows(model.features or features)
    began = time.perf_counter()
    first = model.predict(rows)
    took = (time.perf_counter() - began) * 1000
    if not np.array_equal(first, model.predict(rows)):
        raise BadModel("the model answered the same rows differently when asked again")
    return Seen(
        features=rows.shape[1],
        outputs=first.shape[1],
        names=model.names,
        nbytes=model.nbytes,
        milliseconds=round(took, 3),
    )


def _rows(features: int) -> Floats:
    """Rows like returns, like prices, and at the edges; fixed."""
    unit = np.sin(np.arange(_ROWS * features, dtype=np.float64) * 1.7).reshape(_ROWS, features)
    scale = np.geomspace(1e-4, 1e5, _ROWS)[:, None]
    rows = unit * scale
    rows[0] = 0.0
    return np.asarray(rows)


def main(kind: ModelFormat, features: int, memory_bytes: int) -> int:
    """The child: limit itself, read the model from stdin, try it, print; 0 when it answered."""
    limit_this_process(memory_bytes, CPU_SECONDS)
    content = sys.stdin.buffer.read()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # native libraries write what they think to stdout
    with answer:
        try:
            seen = see(kind, content, features)
        except BadModel as refused:
            answer.write(refused.detail)
            return _REFUSED
        answer.write(json.dumps(asdict(seen), allow_nan=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(ModelFormat(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
