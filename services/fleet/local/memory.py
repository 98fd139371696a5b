"""Memory of processes, counted so that shared pages are not counted twice."""

import psutil


def proportional_bytes(pid: int) -> int:
    """PSS of a process and all its descendants; USS where the system has no PSS; 0 when it is gone."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_own(process) for process in family)


def _own(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0
    return int(getattr(memory, "pss", memory.uss))
