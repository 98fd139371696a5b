"""An ASGI application behind a real server, for the real client."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp

from tidewheel.kit.serve import CLIENT_SECONDS, http_server


@contextmanager
def served(app: ASGIApp, client_seconds: float = CLIENT_SECONDS) -> Iterator[str]:
    """Address under which `app` answers until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = http_server(app, client_seconds)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
