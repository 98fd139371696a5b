"""Runs a service's HTTP face, or its loops alone, until the process is asked to stop."""

import gc
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psutil
from starlette.types import ASGIApp

from tidewheel.contracts.errors import BadSetting
from tidewheel.kit.logs import logger
from tidewheel.kit.service import Service

if TYPE_CHECKING:
    import uvicorn

CLIENT_SECONDS = 20.0
_GRACE_SECONDS = 8
_MAX_FILES = 65_536
_SWITCH_SECONDS = 0.0005  # Python's default is 5 ms, for which the loop would wait once for each busy thread


def serve_http(app: ASGIApp, host: str, port: int, client_seconds: float = CLIENT_SECONDS) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight get 8 s to end. `client_seconds` is how slow a client may be.

    Raises:
        BadSetting: the port is taken (says by whom), or the address is not this machine's.
    """
    listener = listen(host, port)
    if threading.current_thread() is threading.main_thread():
        # uvicorn stops in an orderly way and then raises the signal again, which would make the exit code a failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
    _make_room()
    _give_turns()
    with listener:
        http_server(app, client_seconds).run(sockets=[listener])


def _make_room() -> None:
    """Take as many connections as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _give_turns() -> None:
    """Let the event loop have its turn beside busy threads, and beside the search for garbage.

    What has been built by now stays: looking through all of it again, with everything else at a halt, takes 150 to
    400 ms, many times a minute under load.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()


def http_server(app: ASGIApp, client_seconds: float = CLIENT_SECONDS) -> "uvicorn.Server":
    """The server of every HTTP role, to be run on a socket."""
    import uvicorn

    from tidewheel.kit.slow_clients import timed

    config = uvicorn.Config(
        app,
        http=timed(client_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=30,
        lifespan="on",
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port` (0: a free one), or the reason why there is none.

    Raises:
        BadSetting: as `serve_http`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as problem:
        listener.close()
        owner = port_owner(port)
        if owner:
            raise BadSetting(f"port {port} is taken by {owner}; stop it, or take others with --port-base") from None
        raise BadSetting(f"{host}:{port} cannot be listened on: {problem.strerror or problem}") from None
    return listener


def port_owner(port: int) -> str | None:
    """`name (pid 123)` of the process that listens on a TCP port of this machine, as far as it may be seen."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                return "a process of another user"
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                return f"pid {connection.pid}"
    return None


def serve_loops(service: Service) -> None:
    """Run a role without an HTTP face: start its loops, wait for SIGTERM or SIGINT, stop them in reverse."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    log = logger(__name__)
    with running(service):
        log.info("started")
        asked.wait()
        log.info("stopping")
        for notify in service.on_shutdown:
            notify()


@contextmanager
def running(service: Service) -> Iterator[None]:
    """The loops of a role run until the block ends; then they are stopped in reverse, and what they used is closed."""
    with ExitStack() as stack:
        for close in service.close:
            stack.callback(close)
        for loop in service.loops:
            loop.start()
            stack.callback(loop.stop)
        yield
