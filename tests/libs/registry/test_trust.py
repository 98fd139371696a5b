import io
import socket
from pathlib import Path
from typing import Any

import joblib
import pytest

from tidewheel.contracts.errors import BadInput, BadModel, Conflict
from tidewheel.registry.files import TrainedModels, sha256
from tidewheel.registry.trust import convert, convert_beside


def pickled(value: Any) -> bytes:
    written = io.BytesIO()
    joblib.dump(value, written)
    return written.getvalue()


class Hostile:
    """Its pickle runs a program text."""

    def __init__(self, program: str) -> None:
        self.program = program

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.program, {})


_ATTEMPTS = """
import os, socket, subprocess, sys, ctypes
attempts = {
    "connect": lambda: socket.create_connection(("127.0.0.1", PORT), 5).send(b"x"),
    "send": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "system": lambda: 1 / (os.system("touch " + TRACE) == 0),
    "spawn": lambda: subprocess.Popen(["touch", TRACE]),
    "exec": lambda: os.execv("/bin/touch", ["touch", TRACE]),
    "fork": os.fork,
    "create": lambda: open(TRACE, "w"),
    "read": lambda: open(KEPT).read(),
    "append": lambda: open(KEPT, "a").write("x"),
    "mkdir": lambda: os.mkdir(TRACE),
    "unlink": lambda: os.unlink(KEPT),
    "rename": lambda: os.rename(KEPT, TRACE),
    "chmod": lambda: os.chmod(KEPT, 0),
    "symlink": lambda: os.symlink(KEPT, TRACE),
    "list": lambda: os.listdir("/"),
    "kill": lambda: os.kill(os.getppid(), 0),
    "ptrace": lambda: 1 / (ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0),
    "thread": lambda: __import__("threading").Thread(target=print).start(),
}
done = []
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, RuntimeError, ZeroDivisionError, ImportError, LookupError):
        continue
    done.append(name)
raise RuntimeError(f"of {len(attempts)} it did {done}")
"""


def test_a_hostile_pickle_leaves_no_trace(tmp_path: Path) -> None:
    """It opens no socket, runs no program, touches and reads no file, signals nobody: it is refused."""
    kept, trace = tmp_path / "kept", tmp_path / "trace"
    kept.write_text("kept")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        port = listening.getsockname()[1]
        named = f"TRACE, KEPT, PORT = {str(trace)!r}, {str(kept)!r}, {port}"
        with pytest.raises(BadModel, match=r"of 18 it did \[\]$"):
            convert(pickled(Hostile(named + _ATTEMPTS)))
        with pytest.raises(BlockingIOError):
            listening.accept()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]
    assert kept.read_text() == "kept"


def test_what_a_pickle_makes_must_be_a_model_all_the_same(tmp_path: Path) -> None:
    """A pickle that gives something else, or writes something else for an answer, ends before anything is stored."""
    content = pickled({"not": "a model"})
    (tmp_path / "a.joblib").write_bytes(content)

    with pytest.raises(BadModel, match=r"outermost object is builtins\.dict"):
        convert_beside(TrainedModels(tmp_path), "a.joblib", sha256(content))

    assert [path.name for path in tmp_path.iterdir()] == ["a.joblib"]
    with pytest.raises(BadInput, match=r"b\.skops is no \.joblib file"):
        convert_beside(TrainedModels(tmp_path), "b.skops", sha256(b""))
    (tmp_path / "a.skops").write_bytes(b"somebody's")
    with pytest.raises(Conflict, match="not written over"):
        convert_beside(TrainedModels(tmp_path), "a.joblib", sha256(content))
    assert (tmp_path / "a.skops").read_bytes() == b"somebody's"
