"""Python programs that a proof runs beside itself, and apps that it serves."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from services.fleet.local.fleet import answers
from services.fleet.local.processes import Child, Command
from services.fleet.prove.ground import Place
from tidewheel.contracts.roles import Role
from tidewheel.kit.serve import CLIENT_SECONDS, http_server

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


def serving(
    role: Role, module: str, place: Place, settings: Mapping[str, str], *, name: str = "", port: int | None = None
) -> Command:
    """`module` serving a role on a place, in development mode.

    It works in the place's folder. On a `port` it is ready as soon as it answers there, else by its mark NAME.ready.
    """
    name, folder = name or role.value, place.data_dir
    mark = folder / f"{name}.ready"
    paths = {"TIDEWHEEL_HOME": folder, "DATA_DIR": folder, "MODELS_DIR": folder / "models"}
    given = {key: str(path) for key, path in paths.items()}
    given |= {"LEDGER_DB": place.dsn, "AUTH_MODE": "dev", "BIND": "127.0.0.1", **settings}
    return Command(
        name=name,
        argv=(
            *(sys.executable, "-m", module, "serve", role.value),
            *(("--ready-file", str(mark)) if port is None else ("--port", str(port))),
        ),
        env={**os.environ, **given},
        cwd=folder,
        ready=mark.exists if port is None else partial(answers, f"http://127.0.0.1:{port}/health"),
    )


@contextmanager
def served(app: "ASGIApp", client_seconds: float = CLIENT_SECONDS) -> Iterator[str]:
    """The app's address on loopback until the block ends; it runs in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = http_server(app, client_seconds)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
