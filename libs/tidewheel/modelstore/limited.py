"""A child process that limits itself before it touches somebody's file, and the words for how it ended."""

import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory, TemporaryFile

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 20
TIMEOUT_SECONDS = 60.0
OUTPUT_BYTES = 1024 * 1024
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
    """Run `python -m module` with one thread, `given` on stdin, and an environment and an empty folder of its own.

    What it says goes to files, which its limit bounds; a pipe would fill our memory.
    """
    command = [sys.executable, "-I", "-m", module, *arguments]
    environment = {"PYTHONDONTWRITEBYTECODE": "1", **_ONE_THREAD}
    with TemporaryDirectory() as folder, TemporaryFile() as output, TemporaryFile() as errors:
        try:
            child = subprocess.run(
                command, env=environment, cwd=folder, input=given, stdout=output, stderr=errors, timeout=timeout,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Ended(None, b"", f"gave no answer within {timeout:g} s")
        output.seek(0)
        errors.seek(0)
        words = "ended well" if child.returncode == 0 else _ending(child.returncode) + _last_line(errors.read())
        return Ended(child.returncode, output.read(), words)


def limit_this_process(memory_bytes: int, cpu_seconds: int = CPU_SECONDS, output_bytes: int = OUTPUT_BYTES) -> None:
    """Limit memory, processor time and files of this process; for good, for the hard limits are lowered too."""
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, output_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(what, (limit, limit))


def _ending(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:500]}" if lines else ""
