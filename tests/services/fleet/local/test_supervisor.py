"""The supervisor with real processes."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import psutil
import pytest

from services.fleet.local.ports import free_ports, require_free
from services.fleet.local.processes import Command
from services.fleet.local.supervisor import Supervisor, read_state
from tests.waiting import until
from tidewheel.contracts.errors import BadSetting, Conflict, Unavailable

# Writes its pid and its child's, then sleeps; the child is in the same group but would outlive it.
PARENT = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
mark = pathlib.Path(sys.argv[1])
mark.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
mark.with_suffix(".new").replace(mark)
time.sleep(600)
"""


def command(folder: Path, name: str, code: str = PARENT) -> Command:
    mark = folder / f"{name}.pids"
    return Command(
        name=name,
        argv=(sys.executable, "-c", code, str(mark)),
        env={"PATH": os.environ["PATH"]},
        cwd=folder,
        ready=mark.exists,
        stop_seconds=5,
    )


def pids(folder: Path, name: str) -> list[int]:
    return [int(pid) for pid in (folder / f"{name}.pids").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    """After the end of the with block no process of any tier lives, nor a child that one of them started."""
    with Supervisor(tmp_path, print) as supervisor:
        supervisor.start([command(tmp_path, "first")])
        supervisor.start([command(tmp_path, "second"), command(tmp_path, "third")])
        started = [pid for name in ("first", "second", "third") for pid in pids(tmp_path, name)]
        assert not any(gone(pid) for pid in started)
        assert [row["name"] for row in read_state(tmp_path)["processes"]] == ["first", "second", "third"]

    until(lambda: all(gone(pid) for pid in started))
    assert read_state(tmp_path) == {}


def test_a_process_that_ignores_the_stop_signal_is_killed(tmp_path: Path) -> None:
    """Patience ends: whoever ignores SIGTERM is killed when its seconds are over."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PARENT
    with Supervisor(tmp_path, print) as supervisor:
        stubborn = Command(
            name="deaf",
            argv=(sys.executable, "-c", deaf, str(tmp_path / "deaf.pids")),
            env={},
            cwd=tmp_path,
            ready=(tmp_path / "deaf.pids").exists,
            stop_seconds=0.5,
        )
        supervisor.start([stubborn])

    until(lambda: all(gone(pid) for pid in pids(tmp_path, "deaf")))


def test_a_crashed_process_comes_back(tmp_path: Path) -> None:
    """A killed process is started again after a pause, its orphans are ended, and the pause doubles."""
    said: list[str] = []
    with Supervisor(tmp_path, said.append) as supervisor:
        supervisor.start([command(tmp_path, "crasher")])
        for pause in ("0.5 s", "1 s"):
            first, orphan = pids(tmp_path, "crasher")
            os.kill(first, signal.SIGKILL)

            def back(before: int = first) -> bool:
                supervisor.watch()
                return pids(tmp_path, "crasher")[0] != before

            until(back)
            until(partial(gone, orphan))
            assert f"crasher ended (SIGKILL); starting it again in {pause}" in said[-1]


def test_a_process_that_ends_at_its_start_is_named_with_its_log(tmp_path: Path) -> None:
    """A start that fails says who, how it ended, and what its log says."""
    broken = command(tmp_path, "broken", "print('the disk is full'); raise SystemExit(3)")
    with (
        Supervisor(tmp_path, print) as supervisor,
        pytest.raises(Unavailable, match=r"(?s)broken ended \(exit 3\).*the disk is full"),
    ):
        supervisor.start([broken])


def test_two_fleets_in_one_home_refuse(tmp_path: Path) -> None:
    """The second supervisor of a home stops with the first one's pid; afterwards the home is free again."""
    with (
        Supervisor(tmp_path, print),
        pytest.raises(Conflict, match=f"process {os.getpid()}"),
        Supervisor(tmp_path, print),
    ):
        pass
    with Supervisor(tmp_path, print):
        pass


def test_a_killed_supervisor_takes_its_children_along(tmp_path: Path) -> None:
    """kill -9 of the supervisor: its processes are told by the kernel, and leave."""
    victim = supervisor_process(tmp_path, PARENT)
    leader, _ = pids(tmp_path, "ward")
    victim.kill()
    victim.wait()

    until(lambda: gone(leader))


def test_what_a_killed_supervisor_left_behind_is_ended_by_the_next(tmp_path: Path) -> None:
    """A process that survived the kernel's signal is ended at the next start, with its children."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PARENT
    victim = supervisor_process(tmp_path, deaf)
    ward = pids(tmp_path, "ward")
    victim.kill()
    victim.wait()
    assert not gone(ward[0])

    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append)
    supervisor.leftover_patience = 0.3
    with supervisor:
        until(lambda: all(gone(pid) for pid in ward))
    assert "ending ward" in said[0]


def test_a_stale_pid_is_left_alone(tmp_path: Path) -> None:
    """A pid in fleet.json that belongs to another process by now is not touched."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "fleet.json").write_text(
            f'{{"processes": [{{"name": "ghost", "pid": {bystander.pid}, "created": 1.0}}]}}'
        )
        with Supervisor(tmp_path, print):
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_taken_port_names_its_owner() -> None:
    """A port in use is refused with the pid of its owner; a free one is not."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(BadSetting, match=rf"edge: port {port} is taken by .*\(pid {os.getpid()}\)"):
            require_free(port, "edge")
    require_free(free_ports(1)[0], "edge")


def supervisor_process(folder: Path, code: str) -> subprocess.Popen[bytes]:
    """A supervisor in a process of its own, with one ward that is ready."""
    script = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        from services.fleet.local.processes import Command
        from services.fleet.local.supervisor import Supervisor
        folder = Path({str(folder)!r})
        mark = folder / "ward.pids"
        with Supervisor(folder, print) as supervisor:
            supervisor.start([Command(name="ward", argv=(sys.executable, "-c", {code!r}, str(mark)), env={{}},
                                      cwd=folder, ready=mark.exists)])
            (folder / "up").touch()
            time.sleep(600)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    until((folder / "up").exists)
    return process
