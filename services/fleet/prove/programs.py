"""Python programs that a proof runs beside itself."""

import os
import sys
from pathlib import Path

from services.fleet.processes import Child, Command


def start(module: str, *arguments: object, folder: Path) -> Child:
    """`python -m module`, whose output goes to a log in `folder`; it cannot outlive us."""
    command = Command(
        name=module.rpartition(".")[2],
        argv=(sys.executable, "-m", module, *map(str, arguments)),
        env=dict(os.environ),
        cwd=folder,
        ready=lambda: True,
    )
    return Child(command, folder / f"{command.name}-{os.urandom(4).hex()}.log")
