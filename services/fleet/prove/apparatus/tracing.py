"""Kill a process at its n-th system call that changes something: a ptrace(2) loop, for Linux on x86-64 and arm64.

`strace --inject=...:signal=KILL:when=N` does the same where strace is installed; this needs nothing but the kernel
(5.3 or newer) and the right to trace one's own children, which is the default.
"""

import ctypes
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable

from tidewheel.contracts.errors import Unavailable

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_OPTIONS = 0x1 | 0x8 | 0x100000  #: mark system calls, follow threads, kill what we trace when we end
_ENTRY = 1
_WALL = 0x40000000
_CREATE = os.O_CREAT

#: Calls by which a process changes what others see, by machine.
_CALLS = {
    "x86_64": {
        1: "write", 18: "pwrite64", 20: "writev", 44: "sendto", 46: "sendmsg", 72: "fcntl", 73: "flock", 74: "fsync",
        75: "fdatasync", 77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 87: "unlink", 88: "symlink",
        257: "openat", 258: "mkdirat", 263: "unlinkat", 264: "renameat", 266: "symlinkat", 296: "pwritev",
        316: "renameat2",
    },
    "aarch64": {
        25: "fcntl", 32: "flock", 34: "mkdirat", 35: "unlinkat", 36: "symlinkat", 38: "renameat", 46: "ftruncate",
        56: "openat", 64: "write", 66: "writev", 68: "pwrite64", 70: "pwritev", 82: "fsync", 83: "fdatasync",
        206: "sendto", 211: "sendmsg", 276: "renameat2",
    },
}  # fmt: skip


class _Info(ctypes.Structure):
    """`struct ptrace_syscall_info`, as of an entry."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("nr", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
        ("rest", ctypes.c_uint64 * 2),
    )


def killed_at(number: int, work: Callable[[], None]) -> list[str]:
    """Do `work` in a forked child that dies before its `number`-th changing call (0: never); the calls that it began.

    The last one named is the one that it did not get to do, unless the work ended sooner.

    Raises:
        Unavailable: this machine's calls are not known, or tracing is not allowed.
        RuntimeError: the work failed of itself.
    """
    names = _CALLS.get(platform.machine())
    if sys.platform != "linux" or names is None:
        raise Unavailable(f"system calls of {sys.platform} on {platform.machine()} are not known here; use Linux")
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    ptrace.restype = ctypes.c_long
    child = os.fork()
    if child == 0:
        _traced(ptrace, work)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status) or ptrace(_SETOPTIONS, child, None, _OPTIONS):
        raise Unavailable("the kernel refuses to trace a child; allow ptrace (in a container: --cap-add SYS_PTRACE)")
    calls: list[str] = []
    info, thread, number_of_signal = _Info(), child, 0
    while True:
        ptrace(_SYSCALL, thread, None, number_of_signal)
        thread, status = os.waitpid(-1, _WALL)
        number_of_signal = 0
        if os.WIFSIGNALED(status) or os.WIFEXITED(status):
            if thread != child:
                continue
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                raise RuntimeError(f"the work failed by itself, after {len(calls)} calls")
            return calls
        stop = os.WSTOPSIG(status)
        if stop == signal.SIGTRAP | 0x80:
            ptrace(_GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info))
            name = names.get(info.nr) if info.op == _ENTRY else None
            if name is not None and (name != "openat" or info.args[2] & _CREATE):
                calls.append(name)
                if len(calls) == number:
                    os.kill(child, signal.SIGKILL)
        elif stop not in (signal.SIGTRAP, signal.SIGSTOP):  # those are the tracer's own: a new thread, the start
            number_of_signal = stop


def _traced(ptrace: Callable[..., int], work: Callable[[], None]) -> None:
    try:
        if ptrace(_TRACEME, 0, None, None):
            os._exit(1)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - printed, and told by the exit status; never back into the parent's code
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)
