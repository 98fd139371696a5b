"""One child process: started so that it cannot outlive us, stopped so that nothing of it stays."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tidewheel.contracts.errors import Unavailable

START_SECONDS = 90.0  #: that a process may take until it is ready, on a busy machine
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1
_MAX_LOG_BYTES = 20_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """How to run one process of the fleet, and how to know that it is ready."""

    name: str  #: "predictor"; also the log's file name
    argv: tuple[str, ...]
    env: Mapping[str, str]  #: the whole environment
    cwd: Path
    ready: Callable[[], bool]  #: asked again and again, never raises
    port: int | None = None  #: where it listens
    user: str | None = None  #: unprivileged account to run as; None = ours
    stop_signal: signal.Signals = signal.SIGTERM  #: what makes it leave in good order
    stop_seconds: float = 20.0  #: after that it is killed


class Child:
    """A started `Command`."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command = command
        self.log = log
        self.started_at = time.monotonic()
        self._popen = _launch(command, log)
        self._family: list[int] = []

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        """Exit status (negative: the signal that ended it); None while it runs."""
        return self._popen.poll()

    @property
    def last_words(self) -> str:
        """Where its log is, and how it ends."""
        return f"the log {self.log} ends with:\n{tail(self.log)}"

    def require_running(self) -> None:
        """Check that it has not ended.

        Raises:
            Unavailable: it has; shows the end of its log.
        """
        code = self.exit_code()
        if code is not None:
            raise Unavailable(f"{self.command.name} ended ({how_ended(code)}); {self.last_words}")

    def await_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until it is ready.

        Raises:
            Unavailable: it ended, or was not ready in time; shows the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not self.command.ready():
            self.require_running()
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.command.name} not ready after {seconds:.0f} s; {self.last_words}")
            time.sleep(_POLL_SECONDS)

    def ask_to_stop(self) -> None:
        """Send the stop signal to the process; remember its descendants, for they may lose their parent now."""
        if self.exit_code() is None:
            self._family = _descendants(self.pid)
            self._popen.send_signal(self.command.stop_signal)

    def wait_stopped(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then kill the process and whatever is left of its family."""
        try:
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._family += _descendants(self.pid)
            self._popen.kill()
            self._popen.wait()
        self.kill_leftovers()

    def kill_leftovers(self) -> None:
        """After the process has ended: kill its process group and the descendants that we saw."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in self._family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def how_ended(code: int) -> str:
    """An exit status in words."""
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def same_process(pid: int, created: float) -> bool:
    """Whether `pid` is still the process that was created at `created` (pids are reused)."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _descendants(pid: int) -> list[int]:
    import psutil

    try:
        return [each.pid for each in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _launch(command: Command, log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as sink:
        return subprocess.Popen(
            command.argv,
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C on the terminal reaches only the supervisor, which stops all in order.
            start_new_session=True,
            user=command.user,
            group=None if command.user is None else pwd.getpwnam(command.user).pw_gid,
            extra_groups=None if command.user is None else [],
            preexec_fn=_die_with_parent(command.stop_signal),
        )


def _die_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """A hook for the new process: on Linux it is signalled when the *thread* that started it ends.

    So children are started from the main thread only. It runs after the change of user, which would clear it.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def hook() -> None:
        prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return hook
