"""The trial: a child process checks a model file, loads it and lets it answer, so that a bad one kills nobody else.

A safe format is not a safe loader. Serving loads only bytes that a trial survived, told by their digest.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from tidewheel.contracts.errors import BadInput, BadModel, TidewheelError
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
    nbytes: int  #: memory that it takes, about
    milliseconds: float  #: of one call with 16 rows, the first


def try_out(
    kind: ModelFormat,
    content: bytes,
    features: int | None,
    *,
    timeout: float = TIMEOUT_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
) -> Seen:
    """Check, load and ask the model in a child with limits, on fixed rows of `features` columns.

    None: as many as the file tells.

    Raises:
        BadModel: it is refused, or the child did not survive it; says how it ended.
        BadInput: it wants another number of features (code `feature_mismatch`).
    """
    ended = run_limited(_MODULE, [kind.value, str(features or 0), str(memory_bytes)], given=content, timeout=timeout)
    if ended.well:
        return Seen(**json.loads(ended.output))
    if ended.status == _REFUSED:
        refusal = json.loads(ended.output)
        raise (BadModel if refusal["code"] == BadModel.code else BadInput)(refusal["detail"], code=refusal["code"])
    raise BadModel(f"the trial of the model {ended.words}")


def see(kind: ModelFormat, content: bytes, features: int | None) -> Seen:
    """What `try_out` does in its child; only there, or where a child is the whole point.

    Raises:
        BadModel, BadInput: as `try_out`.
    """
    check(kind, content)
    model = load(kind, content)
    features = features or model.features
    if features is None:
        raise BadModel("the model does not tell how many features it wants")
    if model.features not in (None, features):
        raise BadInput(
            f"the model wants {model.features} features and feature_config names {features}; name as many, in the "
            "order of its training",
            code="feature_mismatch",
        )
    rows = _rows(features)
    began = time.perf_counter()
    first = model.predict(rows)
    took = (time.perf_counter() - began) * 1000
    if not np.array_equal(first, model.predict(rows)):
        raise BadModel("the model answered the same rows differently when asked again")
    return Seen(features=features, outputs=first.shape[1], nbytes=model.nbytes, milliseconds=round(took, 3))


def _rows(features: int) -> Floats:
    """Rows like returns, like prices, and at the edges; fixed."""
    unit = np.sin(np.arange(_ROWS * features, dtype=np.float64) * 1.7).reshape(_ROWS, features)
    scale = np.geomspace(1e-4, 1e5, _ROWS)[:, None]
    rows = unit * scale
    rows[0] = 0.0
    return np.asarray(rows)


def main(kind: ModelFormat, features: int | None, memory_bytes: int) -> int:
    """The child: limit itself, read the model from stdin, try it, print; 0 when it answered."""
    limit_this_process(memory_bytes, CPU_SECONDS)
    content = sys.stdin.buffer.read()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # native libraries write what they think to stdout
    with answer:
        try:
            seen = see(kind, content, features)
        except TidewheelError as refused:
            answer.write(json.dumps({"code": refused.code, "detail": refused.detail}))
            return _REFUSED
        answer.write(json.dumps(asdict(seen), allow_nan=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(ModelFormat(sys.argv[1]), int(sys.argv[2]) or None, int(sys.argv[3])))
