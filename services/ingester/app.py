"""Where the ingester's parts meet: the API (role ingester) and the tasks (role worker)."""

from services.ingester.settings import IngesterSettings
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.messages import Channels
from tidewheel.contracts.times import UtcMillis
from tidewheel.kit.bus import Bus
from tidewheel.kit.logs import logger
from tidewheel.kit.room import DiskRoom
from tidewheel.kit.service import Service
from tidewheel.ledger.open import open_ledger


def build(settings: IngesterSettings) -> Service:
    """The ingester over one ledger and one exchange; no request is sent to the exchange yet.

    Raises:
        BadInput: ccxt does not know the exchange.
        SchemaMismatch, Unavailable: the ledger is not there.
    """
    from services.ingester.api import router
    from services.ingester.service.backfilling import Backfilling
    from services.ingester.service.ingester import Ingester
    from services.ingester.service.writer import open_writers
    from services.ingester.tasks import tasks

    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    bus = Bus(settings.redis_url)
    writers = open_writers(settings, ledger)
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


def hint(bus: Bus, stream: StreamKey, watermark: UtcMillis | None) -> None:
    """Tell listeners that bars were stored; the ledger has them whether or not the broker is there."""
    try:
        bus.publish(Channels.candles(str(stream)), {"stream": str(stream), "watermark": watermark})
    except Unavailable as away:
        logger(__name__).warning("candle_hint_lost", stream=str(stream), reason=away.detail)
