"""The canary: a child process loads a bundle first and answers with it, so that a bad one kills nobody else.

A safe format is not a safe loader. The child limits its own memory, processor time and files before it touches the
bundle, lets the model answer to fixed inputs (`trials.py`), and prints what it saw as JSON.
"""

import json
import sys
from pathlib import Path

from tidewheel.contracts.errors import TidewheelError
from tidewheel.contracts.verdicts import StepResult
from tidewheel.modelstore.bundle import read_bundle
from tidewheel.modelstore.limited import MEMORY_BYTES, TIMEOUT_SECONDS, limit_this_process, run_limited
from tidewheel.modelstore.trials import trial

NAME = "canary"
_MODULE = "tidewheel.modelstore.canary"  #: not __name__, which is __main__ in the child


def canary(bundle_dir: Path, *, timeout: float = TIMEOUT_SECONDS, memory_bytes: int = MEMORY_BYTES) -> StepResult:
    """Load the bundle in a child with limits and let it answer; a refusal says how the child ended."""
    ended = run_limited(_MODULE, [str(bundle_dir), str(memory_bytes)], timeout=timeout)
    if ended.well:
        numbers = json.loads(ended.output)
        return StepResult(step=NAME, passed=True, reason="a child process loaded it and it answered", numbers=numbers)
    told = {"limit_seconds": timeout} if ended.status is None else {"exit_status": ended.status}
    return StepResult(step=NAME, passed=False, reason=f"the canary {ended.words}", numbers=told)


def main(bundle_dir: Path, memory_bytes: int) -> int:
    """The child: limit itself, load, ask, print; 0 when the answers make sense."""
    limit_this_process(memory_bytes)
    try:
        bundle = read_bundle(bundle_dir)
        seen = trial(bundle.manifest.family, bundle.files)
    except TidewheelError as refused:
        sys.stderr.write(f"{refused.detail}\n")
        return 3
    sys.stdout.write(json.dumps({"version": bundle.manifest.version, **seen}, allow_nan=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2])))
