"""A process that gives up all but what computing needs: no file, socket, program, process or signal any more.

A seccomp filter (Linux, x86_64 and aarch64) lets a short list of system calls through and answers EPERM to the rest.
It cannot be taken off again, and holds for every thread. https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import ctypes
import platform
import struct
import sys

from tidewheel.contracts.errors import Unavailable

#: System call: its number on x86_64 and on aarch64. Reading and writing is of what is open already.
_ALLOWED = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "readv": (19, 65), "writev": (20, 66),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "getpid": (39, 172), "exit": (60, 93),
    "uname": (63, 160), "gettimeofday": (96, 169), "getrusage": (98, 165), "sysinfo": (99, 179), "getuid": (102, 174),
    "geteuid": (107, 175), "sigaltstack": (131, 132), "gettid": (186, 178), "futex": (202, 98),
    "sched_getaffinity": (204, 123), "clock_gettime": (228, 113), "exit_group": (231, 94), "getrandom": (318, 278),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}  #: column, AUDIT_ARCH, seccomp()
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  #: BPF: load a word; compare it with a constant; end
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  #: refuse: with EPERM


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def give_up_everything() -> None:
    """Apply the filter to this process, all its threads, for good.

    Raises:
        Unavailable: this machine has no such filter, or refuses it (code `no_sandbox`).
    """
    column, audit, call = _ARCHITECTURES.get(platform.machine(), (0, 0, 0))
    if sys.platform != "linux" or not call:
        raise _refused(f"{sys.platform} on {platform.machine()} has no filter that we know")
    allowed = [numbers[column] for numbers in _ALLOWED.values()]
    steps = [
        (_LOAD, 0, 0, 4),  # the architecture, lest another one's numbers mean other calls
        (_IF_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the number of the call
        *((_IF_EQUAL, len(allowed) - place, 0, number) for place, number in enumerate(allowed)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _refused("the kernel refuses no_new_privs")
    if libc.syscall(call, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program)) != 0:
        raise _refused(f"the kernel refuses the filter (errno {ctypes.get_errno()})")


def _refused(why: str) -> Unavailable:
    return Unavailable(
        f"{why}, and a pickle is opened nowhere else; convert the file on a Linux machine with seccomp, or save the "
        "model with skops.io.dump where it was trained",
        code="no_sandbox",
    )
