"""The ingester's app, with a simulated exchange to ask."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.testclient import TestClient

from services.fleet.prove.apparatus.beside import served
from services.fleet.simulator.app import sim_app
from services.ingester.app import build
from services.ingester.settings import IngesterSettings
from tests.libs.market.sim.made import START, candles, told
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import MINUTE
from tidewheel.kit.service import Service
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import SimulatedExchange

BTC, ETH = StreamKey("binance", "BTC/USDT", "1m"), StreamKey("binance", "ETH/USDT", "1m")
BARS = 700
NO_BROKER = "redis://127.0.0.1:9/0"


class RoleClient(TestClient):
    """Asks the ingester's app; `service` is what that is built from."""

    def __init__(self, service: Service) -> None:
        super().__init__(create_app(service))
        self.service = service


def simulator(missing: tuple[int, ...] = (), now: int = BARS) -> SimulatedExchange:
    """Two streams of `BARS` bars, the first without those `missing`; `now` bars have passed."""
    series = told(("BTC/USDT", "1m", candles(BARS, missing=missing)), ("ETH/USDT", "1m", candles(BARS)))
    return SimulatedExchange(series, VirtualClock(START + now * MINUTE))


@contextmanager
def role(engine: SimulatedExchange, ledger_dsn: str, data_dir: Path, **settings: object) -> Iterator[RoleClient]:
    """The ingester's app over `ledger_dsn`, asking `engine` through a real server; without a broker."""
    with served(sim_app(engine)) as url:
        wanted = {"symbols": ("btcusdt", "ETH/USDT"), "batch_limit": 300, "start_ts": START} | settings
        service = build(
            load(
                IngesterSettings,
                exchange_url=url,
                ledger_db=ledger_dsn,
                data_dir=data_dir,
                redis_url=NO_BROKER,
                auth_mode="dev",
                **wanted,
            )
        )
        with RoleClient(service) as client:
            yield client
