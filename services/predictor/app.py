"""Where the predictor's parts meet."""

from services.predictor.api import bounce, predicting, registry
from services.predictor.service.bounce.scans import Scans
from services.predictor.service.catalogue import Catalogue
from services.predictor.service.forecasts import Forecasting
from services.predictor.service.regimes import Predictor, load_warm
from services.predictor.service.upkeep import Heartbeat, Listener, Nowcasts
from services.predictor.settings import PredictorSettings
from tidewheel.contracts.roles import Role
from tidewheel.kit.bus import Bus
from tidewheel.kit.loops import Repeating
from tidewheel.kit.service import Service
from tidewheel.ledger.open import open_ledger
from tidewheel.modelstore.live import LiveModel
from tidewheel.modelstore.store import ModelStore
from tidewheel.registry.service import ModelService

HEARTBEAT_SECONDS = 2.0
NOWCAST_SECONDS = 1.5


def build(settings: PredictorSettings) -> Service:
    """The predictor, ready to serve."""
    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    store, bus = ModelStore(settings.models_dir), Bus(settings.redis_url)
    live = LiveModel(store, settings.family, load_warm, on_change=lambda: _wake(heartbeat, nowcasts))
    heart = Heartbeat(ledger, live, settings.instance)
    heartbeat = Repeating("heartbeat", HEARTBEAT_SECONDS, heart.beat)
    nowcasts = Repeating("nowcasts", NOWCAST_SECONDS, Nowcasts(ledger, live, settings.nowcast_bars).write)
    listener = Listener(bus, settings.family, flipped=live.nudge, stored=nowcasts.nudge)
    models = ModelService(settings.trained_models_dir, symbols=settings.symbols)
    predictor = Predictor(ledger, store, live, instance=settings.instance, nowcast_bars=settings.nowcast_bars)

    def loops() -> None:
        heartbeat.ping()
        nowcasts.ping()

    return Service(
        name=Role.PREDICTOR,
        settings=settings,
        routers=[
            predicting.router(predictor, Forecasting(ledger, models), live),
            registry.router(Catalogue(ledger, models)),
            bounce.router(Scans.of(settings, ledger)),
        ],
        pings=[ledger.ping, live.ping, loops],
        spare=[bus.ping],
        loops=[live, nowcasts, heartbeat, listener],
        keys=ledger.keys,
        close=[ledger.close, bus.close, heart.leave],
    )


def build_worker(settings: PredictorSettings) -> Service:
    """The worker of the queue `predict`; raises as `build`."""
    from services.predictor.tasks import tasks

    ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    return Service(
        name=settings.role, settings=settings, tasks=tasks(ledger), pings=[ledger.ping], close=[ledger.close]
    )


def _wake(*loops: Repeating) -> None:
    for loop in loops:
        loop.nudge()
