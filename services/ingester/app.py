"""Where the ingester's parts meet: the API (role ingester) and the tasks (role worker)."""

from typing import TYPE_CHECKING

from services.ingester.settings import IngesterSettings
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.messages import Channels
from tidewheel.contracts.times import UtcMillis
from tidewheel.kit.bus import Bus
from tidewheel.kit.logs import logger
from tidewheel.kit.room import DiskRoom
from tidewheel.kit.service import Service
from tidewheel.ledger.open import Ledger, open_ledger

if TYPE_CHECKING:
    from services.ingester.service.backfilling import Backfilling
    from services.ingester.service.writer import Writers


def build(settings: IngesterSettings) -> Service:
    """The ingester over one ledger and one exchange; no request is sent to the exchange yet.

    Raises:
        BadInput: ccxt does not know the exchange.
        SchemaMismatch, Unavailable: the ledger is not there.
    """
    from services.ingester.api import router
    from services.ingester.service.backfilling import Backfilling
    from services.ingester.service.ingester import Ingester
    from services.ingester.tasks import tasks

    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    bus = Bus(settings.redis_url)
    writers = _writers(settings, ledger)
    ingester = Ingester(ledger, writers, settings, tell=lambda stream, watermark: hint(bus, stream, watermark))
    backfilling = Backfilling(ledger, writers, settings)
    return Service(
        name=settings.role,
        settings=settings,
        routers=[router(ingester, backfilling)],
        tasks=tasks(ingester, backfilling),
        pings=[ledger.ping],
        spare=[bus.ping, DiskRoom(settings.disk_floor_mb, settings.data_dir).ping],
        keys=ledger.keys,
        close=[ledger.close, bus.close],
    )


def backfilling(settings: IngesterSettings, ledger: Ledger) -> "Backfilling":
    """Backfills alone, for a command: no broker is asked.

    Raises:
        BadInput: ccxt does not know the exchange.
    """
    from services.ingester.service.backfilling import Backfilling

    return Backfilling(ledger, _writers(settings, ledger), settings)


def _writers(settings: IngesterSettings, ledger: Ledger) -> "Writers":
    from services.ingester.service.writer import Writers
    from tidewheel.market.limiter import Limiter
    from tidewheel.market.open import open_exchange

    key, secret = settings.exchange_api_key, settings.exchange_api_secret
    exchange = open_exchange(
        settings.exchange,
        type=settings.exchange_type,
        url=settings.exchange_url,
        api_key=key.get_secret_value() if key else None,
        secret=secret.get_secret_value() if secret else None,
        sleep_ms=settings.sleep_ms,
        limiter=Limiter(settings.data_dir / "limits"),
    )
    return Writers(ledger, exchange, settings)


def hint(bus: Bus, stream: StreamKey, watermark: UtcMillis | None) -> None:
    """Tell listeners that bars were stored; the ledger has them whether or not the broker is there."""
    try:
        bus.publish(Channels.candles(str(stream)), {"stream": str(stream), "watermark": watermark})
    except Unavailable as away:
        logger(__name__).warning("candle_hint_lost", stream=str(stream), reason=away.detail)
