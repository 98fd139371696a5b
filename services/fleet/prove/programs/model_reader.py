"""The reader of the proof `models`: checks, loads and asks each file, within limits, and goes on."""

import json
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadModel
from tidewheel.registry.formats import kinds

ADDRESS_SPACE = 4 * 2**30
COLUMNS = 5
_HANGS_AFTER = 60  #: seconds, after which SIGALRM ends the reader: a native loop listens to nothing else


def read(path: Path) -> dict[str, Any]:
    """What became of one file."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    outcome, harm = "refused", None
    signal.alarm(_HANGS_AFTER)
    try:
        content, kind = path.read_bytes(), kinds.kind_of(path.name)
        kinds.check(kind, content)
        model = kinds.load(kind, content)
        answer = model.predict(_rows(model.features or COLUMNS))
        outcome = "served" if np.isfinite(answer).all() else "answered NaN"
    except BadModel:
        pass  # refused
    except Exception as other:  # noqa: BLE001 - whatever it is, it is not a refusal, and the proof tells it
        harm = f"{type(other).__name__}: {other}"[:500]
    signal.alarm(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"outcome": outcome, "harm": harm, "seconds": time.process_time() - started, "grown_kb": grown}


def _rows(columns: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Rows that come by many branches."""
    dice = np.random.default_rng(1)
    return np.asarray(dice.normal(size=(200, columns)) * np.geomspace(1e-3, 1e3, 200)[:, None])


def main() -> None:
    """`python -m services.fleet.prove.programs.model_reader FILE`: FILE lists files; prints JSON, a line each."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    paths = [Path(each) for each in json.loads(Path(sys.argv[1]).read_text())]
    for path in {path.suffix: path for path in paths}.values():
        read(path)  # once a format for nothing: what its library takes to be imported is not the file's doing
    for path in paths:
        print(json.dumps(read(path)), flush=True)


if __name__ == "__main__":
    main()
