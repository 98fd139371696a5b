"""Python programs that a proof runs beside itself, and apps that it serves."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.fleet.local.processes import Child, Command

if TYPE_CHECKING:
    from starlette.types import ASGIApp


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


@contextmanager
def served(app: "ASGIApp") -> Iterator[str]:
    """The app's address on loopback until the block ends; it runs in a thread."""
    from tidewheel.kit.serve import http_server

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = http_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
