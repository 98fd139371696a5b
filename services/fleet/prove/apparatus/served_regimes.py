"""A predictor as others reach it, over HTTP, asked in all three ways while a stream grows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from services.fleet.prove.apparatus.beside import served
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.keys import FAMILY, StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.features.returns import WINDOW, log_returns, regime_signature
from tidewheel.models.identity import STATES
from tidewheel.models.regime import RegimeModel
from tidewheel.modelstore.bundle import BundleMeta
from tidewheel.modelstore.store import ModelStore


@dataclass(frozen=True, slots=True)
class Told:
    """One answer."""

    way: str  #: how it was asked: logret, bars or stream
    returns: int  #: log returns up to the bar that it is of
    probs: tuple[float, ...]  #: in the order of STATES


def answers(model: RegimeModel, stream: str, frame: CandleFrame, folder: Path, *, nowcast_bars: int) -> Iterator[Told]:
    """Store `frame` bar by bar, and after each ask a predictor that serves `model` for the regime now."""
    import httpx

    from services.predictor.app import build
    from services.predictor.settings import PredictorSettings
    from tidewheel.kit.settings import load
    from tidewheel.kit.web import create_app
    from tidewheel.ledger.open import migrate, open_ledger

    home = folder / f"served-{uuid4().hex[:12]}"
    home.mkdir()
    dsn, key = f"sqlite:///{home}/ledger.sqlite", StreamKey.parse(stream)
    migrate(dsn, home)
    store = ModelStore(home / "models")
    _put_in_service(store, model, key, frame)
    settings = load(
        PredictorSettings,
        tidewheel_home=home,
        data_dir=home,
        ledger_db=dsn,
        models_dir=store.models_dir,
        redis_url="redis://127.0.0.1:9/0",
        auth_mode="dev",
        nowcast_bars=nowcast_bars,
    )
    returns, rows = log_returns(frame.close).tolist(), frame.rows()
    ledger = open_ledger(dsn, home)
    try:
        ledger.streams.register(key, Origin.SYNTHETIC)
        with (
            served(create_app(build(settings))) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
            ledger.leases.hold(f"stream:{key}", "prove", 600_000) as held,
        ):
            ledger.bars.append(held.lease, key, frame.take(slice(WINDOW)), "prove")
            for count in range(WINDOW, len(returns) + 1):
                ledger.bars.append(held.lease, key, frame.take(slice(count, count + 1)), "prove")
                bodies = {"logret": returns[:count], "bars": rows[: count + 1], "stream": stream}
                for way, value in bodies.items():
                    answer = client.post("/predict", json={way: value})
                    if answer.status_code != 200:
                        raise Unavailable(f"the predictor answered {answer.status_code}: {answer.text[:300]}")
                    probs = answer.json()["probs"]
                    yield Told(way, count, tuple(probs[name] for name in STATES))
    finally:
        ledger.close()


def _put_in_service(store: ModelStore, model: RegimeModel, key: StreamKey, frame: CandleFrame) -> None:
    about = BundleMeta(
        data_as_of=int(frame.open_time[0]),
        max_feature_time=int(frame.open_time[0]) - frame.step,
        feature_signature=regime_signature(key.timeframe),
        seed=model.seed,
        code_digest="c" * 64,
        origin=Origin.SYNTHETIC,
        metrics={},
        metric_name="none",
        metric_value=None,
        claimed_files=0,
        lineage={},
    )
    staged = store.stage(FAMILY, model.to_payload(), about)
    store.publish(staged)
    store.point(FAMILY, staged.version)
