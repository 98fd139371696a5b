"""Runs the processes of a fleet on this machine: in order, watched, and gone when we are gone.

One supervisor owns one home. It holds a lock on it while it lives, and writes `run/fleet.json`, which tells
`tidewheel status` who runs, and the next supervisor what a killed one may have left behind.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, TextIO

from services.fleet.local.processes import START_SECONDS, Child, Command, how_ended, same_process
from tidewheel.contracts.errors import Conflict, Unavailable

_POLL_SECONDS = 0.05
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STABLE_SECONDS = 60.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Starts tiers of processes, restarts what crashes, stops everything in reverse order.

    Use it as a context manager, and start processes from the thread that lives longest (processes.py says why).
    """

    def __init__(self, home: Path, say: Callable[[str], None]) -> None:
        self.home = home
        self._say = say
        self._tiers: list[list[Child]] = []
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._lock: TextIO | None = None
        self.leftover_patience = 10.0  #: seconds that a process left behind by a killed supervisor gets to leave
        self.about: dict[str, Any] = {}  #: further members of fleet.json: the address, the flower account's file

    def __enter__(self) -> "Supervisor":
        """Take the home.

        Raises:
            Conflict: another supervisor holds it; names its pid.
        """
        run = self.home / "run"
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            lock.close()
            raise Conflict(
                f"a fleet already runs in {self.home} (process {pid}): stop it, or set another TIDEWHEEL_HOME",
                code="home_in_use",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        self._end_leftovers()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def children(self) -> list[Child]:
        """All processes, in the order of their start."""
        return [child for tier in self._tiers for child in tier]

    def start(self, commands: Sequence[Command], seconds: float = START_SECONDS) -> None:
        """Start one tier together and wait until each of it is ready.

        Raises:
            Unavailable: one ended, or was not ready in time; shows the end of its log.
        """
        tier: list[Child] = []
        self._tiers.append(tier)
        for command in commands:
            tier.append(Child(command, self._log(command.name)))
        self._record()
        deadline = time.monotonic() + seconds
        waiting = list(tier)
        while waiting:
            for child in list(waiting):
                child.require_running()
                if child.command.ready():
                    waiting.remove(child)
            if waiting and time.monotonic() > deadline:
                names = ", ".join(child.command.name for child in waiting)
                raise Unavailable(f"{names} not ready after {seconds:.0f} s; {waiting[0].last_words}")
            time.sleep(_POLL_SECONDS)

    def require_running(self) -> None:
        """Check that no process has ended.

        Raises:
            Unavailable: one has; shows the end of its log.
        """
        for child in self.children:
            child.require_running()

    def watch(self) -> None:
        """One look at all processes: a crashed one is started again, after a pause that doubles up to 30 s."""
        now = time.monotonic()
        for tier in self._tiers:
            for index, child in enumerate(tier):
                name = child.command.name
                code = child.exit_code()
                if code is None:
                    if name in self._pauses and now - child.started_at > _STABLE_SECONDS:
                        del self._pauses[name]
                elif name not in self._due:
                    child.kill_leftovers()
                    pause = self._pauses.get(name, _FIRST_PAUSE)
                    self._due[name] = now + pause
                    self._pauses[name] = min(pause * 2, _LONGEST_PAUSE)
                    self._say(
                        f"{name} ended ({how_ended(code)}); starting it again in {pause:g} s, its log is {child.log}"
                    )
                elif now >= self._due[name]:
                    del self._due[name]
                    tier[index] = Child(child.command, child.log)
                    self._record()

    def end(self, name: str) -> None:
        """Stop one process in good order, and forget it."""
        for tier in self._tiers:
            for child in [each for each in tier if each.command.name == name]:
                child.ask_to_stop()
                child.wait_stopped(time.monotonic() + child.command.stop_seconds)
                tier.remove(child)
        self._record()

    def stop(self) -> None:
        """Stop all tiers, the last first, and give the home back. Signals that ask for a stop are ignored meanwhile."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *_STOP_SIGNALS)}
        try:
            while self._tiers:
                tier = self._tiers.pop()
                for child in tier:
                    child.ask_to_stop()
                asked = time.monotonic()
                for child in tier:
                    child.wait_stopped(asked + child.command.stop_seconds)
            self._state_file.unlink(missing_ok=True)
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def _state_file(self) -> Path:
        return state_file(self.home)

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _record(self) -> None:
        import psutil

        rows = []
        for child in self.children:
            with contextlib.suppress(psutil.NoSuchProcess):
                created = psutil.Process(child.pid).create_time()
                rows.append(
                    {"name": child.command.name, "pid": child.pid, "created": created, "port": child.command.port}
                )
        fresh = self._state_file.with_suffix(".new")
        fresh.touch(mode=0o600)  # it may hold the embedded ledger's password
        fresh.write_text(json.dumps({"pid": os.getpid(), **self.about, "processes": rows}, indent=1))
        fresh.replace(self._state_file)

    def _end_leftovers(self) -> None:
        """End what a supervisor that was killed left behind; pids that belong to others by now are left alone."""
        for row in read_state(self.home).get("processes", []):
            if same_process(row["pid"], row["created"]):
                self._say(f"ending {row['name']} (process {row['pid']}), left behind by a fleet that was killed")
                _end(row["pid"], row["created"], self.leftover_patience)


def interrupt_on_stop_signals() -> None:
    """Make SIGTERM and SIGHUP mean what Ctrl-C means: KeyboardInterrupt, which unwinds to the end of all children.

    A signal that is ignored already stays so: nohup asks for that.
    """
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def state_file(home: Path) -> Path:
    """Where the supervisor of `home` tells who runs."""
    return home / "run" / "fleet.json"


def read_state(home: Path) -> dict[str, Any]:
    """What `fleet.json` says; empty when no fleet was started, or it was stopped in order."""
    try:
        state: dict[str, Any] = json.loads(state_file(home).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return state


def _end(pid: int, created: float, patience: float) -> None:
    """End a process and its group, which it was started to lead: asked first, killed after `patience` seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while same_process(pid, created) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    while same_process(pid, created):
        time.sleep(_POLL_SECONDS)
