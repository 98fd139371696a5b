"""Fitting in one child process per run, so that a fit can be limited, watched and killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from services.ml_trainer.service.job import read_payload
from tidewheel.contracts.errors import NotEnoughData, TidewheelError

CHILD_MODULE = "services.ml_trainer.train.child"
OUT_OF_MEMORY = "out_of_memory"  #: how a child begins its last word whose fit hit its limit
LayOut = Callable[[Path], None]  #: writes the job's files into the work directory, which is there and empty
Progress = Callable[[dict[str, Any]], None]

_POLL_SECONDS = 0.05
_PROGRESS_SECONDS = 0.5
_KEPT_STDERR_BYTES = 8_192
# One thread a trainer: two OpenMP threads stall whenever a neighbour takes the core. Nothing else of the parent's
# environment crosses, so no secret does.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONHASHSEED": "0",
    "LANG": "C.UTF-8",
}


class Waits(Protocol):
    """How a fit sleeps: `Watch`."""

    def wait(self, seconds: float) -> None:
        """Sleep, or raise when the work must stop."""


class FitFailed(TidewheelError):
    """The fit ended without a model; the detail is the child's own last word."""

    code, title = "fit_failed", "The fit failed"
    crashed = False  #: killed, or out of memory: a later attempt, or one on fewer files, may end well

    @property
    def wants_more(self) -> bool:
        """Whether there were too few bars or dips to fit."""
        return self.detail.startswith(NotEnoughData.code)


class FitChild:
    """Starts `module` as the child of one fit in a directory under `work_root`, and brings its payload home."""

    def __init__(self, work_root: Path, module: str = CHILD_MODULE) -> None:
        self._root, self._module = work_root, module

    def run(self, run_id: int, fence: int, lay_out: LayOut, watch: Waits, progress: Progress) -> dict[str, bytes]:
        """Fit the job that `lay_out` writes, and return the model's payload files, unchecked.

        The work directory is gone afterwards, and so is any that an earlier, killed attempt at the run left.

        `progress` gets the child's latest report, at most twice a second.

        Raises:
            FitFailed: the child failed or was killed.
            whatever `watch` raises to end the work; the child is dead by then.
        """
        work = self._root / f"run-{run_id}-{fence}"
        for leftover in self._root.glob(f"run-{run_id}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            lay_out(work)
            self._run_child(work, watch, progress)
            return read_payload(work / "result")
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _run_child(self, work: Path, watch: Waits, progress: Progress) -> None:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", self._module, str(work.resolve())],
            cwd=work,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        ) as child:
            reports = _Lines(child.stdout, keep_bytes=_KEPT_STDERR_BYTES)
            words = _Lines(child.stderr, keep_bytes=_KEPT_STDERR_BYTES)
            try:
                self._attend(child, watch, reports, progress)
            finally:
                _kill_group(child)
                child.wait()
                reports.join()
                words.join()
        if child.returncode != 0:
            failed = FitFailed(_last_word(child.returncode, words.last()))
            failed.crashed = child.returncode < 0 or failed.detail.startswith(OUT_OF_MEMORY)
            raise failed

    def _attend(self, child: "subprocess.Popen[bytes]", watch: Waits, reports: "_Lines", progress: Progress) -> None:
        told, told_at = "", 0.0
        while child.poll() is None:
            watch.wait(_POLL_SECONDS)
            line, now = reports.last(), time.monotonic()
            if line != told and now - told_at >= _PROGRESS_SECONDS:
                told, told_at = line, now
                progress(_report(line))
        reports.join()
        if reports.last() != told:
            progress(_report(reports.last()))


class _Lines:
    """The newest complete line of a pipe, read in a thread so that the child never blocks on it."""

    def __init__(self, pipe: IO[bytes] | None, keep_bytes: int) -> None:
        if pipe is None:
            raise ValueError("the child's output must be a pipe")
        self._pipe, self._keep, self._line = pipe, keep_bytes, ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def last(self) -> str:
        return self._line

    def join(self) -> None:
        self._thread.join()

    def _read(self) -> None:
        for line in self._pipe:
            text = line[: self._keep].decode("utf-8", "replace").strip()
            if text:
                self._line = text


def _report(line: str) -> dict[str, Any]:
    """A line of progress; one that is none is told as text, for a library may print what it likes."""
    try:
        found = json.loads(line, parse_constant=lambda _: None)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": line[:200]}


def _kill_group(child: "subprocess.Popen[bytes]") -> None:
    """Kill whatever lives in the child's process group; it has nothing to save."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)


def _last_word(returncode: int, stderr_line: str) -> str:
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return f"the fit was killed by {name}" + (f": {stderr_line}" if stderr_line else "")
    return stderr_line or f"the fit ended with exit code {returncode} and no message"
