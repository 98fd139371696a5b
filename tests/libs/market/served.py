"""The real simulator behind a real server, for the real client."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from services.fleet.exchange_sim import sim_app
from tidewheel.market.sim.engine import SimulatedExchange


@contextmanager
def served(engine: SimulatedExchange) -> Iterator[str]:
    """Address under which `engine` answers until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(sim_app(engine), log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
