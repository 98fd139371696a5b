"""The canary: a child process loads a bundle first and answers with it, so that a bad one kills nobody else.

A safe format is not a safe loader. The child limits its own memory, processor time and files before it touches the
bundle, lets the model answer to fixed inputs (`trials.py`), and prints what it saw as JSON.
"""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

from tidewheel.contracts.errors import TidewheelError
from tidewheel.contracts.verdicts import StepResult
from tidewheel.modelstore.bundle import read_bundle
from tidewheel.modelstore.trials import trial

NAME = "canary"
MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 20
TIMEOUT_SECONDS = 60.0


def canary(bundle_dir: Path, *, timeout: float = TIMEOUT_SECONDS, memory_bytes: int = MEMORY_BYTES) -> StepResult:
    """Load the bundle in a child with limits and let it answer; a refusal says how the child ended."""
    one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
    environment = {"PYTHONDONTWRITEBYTECODE": "1", **one_thread}
    command = [sys.executable, "-I", "-m", "tidewheel.modelstore.canary", str(bundle_dir), str(memory_bytes)]
    try:
        child = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"the canary gave no answer within {timeout:g} s"
        return StepResult(step=NAME, passed=False, reason=reason, numbers={"limit_seconds": timeout})
    if child.returncode == 0:
        numbers = json.loads(child.stdout)
        return StepResult(step=NAME, passed=True, reason="a child process loaded it and it answered", numbers=numbers)
    reason = f"the canary {_ending(child.returncode)}{_last_line(child.stderr)}"
    return StepResult(step=NAME, passed=False, reason=reason, numbers={"exit_status": child.returncode})


def _ending(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:500]}" if lines else ""


def main(bundle_dir: Path, memory_bytes: int) -> int:
    """The child: limit itself, load, ask, print; 0 when the answers make sense."""
    _limit(memory_bytes)
    try:
        bundle = read_bundle(bundle_dir)
        seen = trial(bundle.manifest.family, bundle.files)
    except TidewheelError as refused:
        sys.stderr.write(f"{refused.detail}\n")
        return 3
    sys.stdout.write(json.dumps({"version": bundle.manifest.version, **seen}, allow_nan=False))
    return 0


def _limit(memory_bytes: int) -> None:
    # Soft and hard alike, so that nothing in this process can raise them again. No file may grow: it only reads.
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(what, (limit, limit))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2])))
