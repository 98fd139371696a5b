"""The reader of the proof `hostile`: opens and loads each forged bundle, within limits, and goes on."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from services.predictor.service.regimes import load_warm
from tidewheel.contracts.errors import BadBundle
from tidewheel.modelstore.store import ModelStore

ADDRESS_SPACE = 3 * 2**30


def read(folder: Path) -> dict[str, Any]:
    """What became of one bundle."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    reason, harm = None, None
    try:
        load_warm(ModelStore(folder.parents[1]).open("hmm", folder.name))
    except BadBundle as refused:
        reason = refused.detail
    except Exception as other:  # noqa: BLE001 - whatever it is, it is not a refusal, and the proof tells it
        harm = f"{type(other).__name__}: {other}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"reason": reason, "harm": harm, "seconds": time.process_time() - started, "grown_kb": grown}


def main() -> None:
    """`python -m services.fleet.prove.programs.hostile_reader FILE`: FILE lists folders; prints JSON, a line each."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for folder in json.loads(Path(sys.argv[1]).read_text()):
        print(json.dumps(read(Path(folder))), flush=True)


if __name__ == "__main__":
    main()
