"""A child process that limits itself before it touches somebody's file, and the words for how it ended."""

import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 20
TIMEOUT_SECONDS = 60.0
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a child."""

    status: int | None  #: exit status, negative for a signal; None: it took too long and was killed
    output: bytes  #: its stdout
    words: str  #: such as `was ended by SIGSEGV` or `ended with status 3: <last line of stderr>`

    @property
    def well(self) -> bool:
        """Whether it came to its own good end."""
        return self.status == 0


def run_limited(
    module: str, arguments: Sequence[str] = (), *, given: bytes = b"", timeout: float = TIMEOUT_SECONDS
) -> Ended:
    """Run `python -m module` with an environment of its own, one thread and `given` on stdin."""
    command = [sys.executable, "-I", "-m", module, *arguments]
    environment = {"PYTHONDONTWRITEBYTECODE": "1", **_ONE_THREAD}
    try:
        child = subprocess.run(command, env=environment, input=given, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Ended(None, b"", f"gave no answer within {timeout:g} s")
    if child.returncode == 0:
        return Ended(0, child.stdout, "ended well")
    return Ended(child.returncode, child.stdout, _ending(child.returncode) + _last_line(child.stderr))


def limit_this_process(memory_bytes: int, cpu_seconds: int = CPU_SECONDS) -> None:
    """Limit memory, processor time and files of this process; for good, for the hard limits are lowered too."""
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),  # no file may grow: it only reads
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(what, (limit, limit))


def _ending(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:500]}" if lines else ""
