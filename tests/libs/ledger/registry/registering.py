"""Models and predictions as the registry's service would hand them over, made short."""

from dataclasses import replace
from typing import Any

from tests.libs.ledger.test_runs import TTL
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import IntervalSource, ModelFormat, Origin
from tidewheel.contracts.times import HOUR
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.records import NewModel, NewPrediction, RegisteredModel, SavedPrediction
from tidewheel.ledger.run_lease import RunLease

BTC, ETH = StreamKey("binance", "BTC/USDT", "1m"), StreamKey("binance", "ETH/USDT", "1h")
NOON = 1_767_225_600_000  #: a base time


def version(number: int) -> str:
    return f"v2026-01-01-{number:08x}"


def new_model(number: int = 1, name: str = "forest", **changes: Any) -> NewModel:
    """A skops file; equal numbers are equal files."""
    made = NewModel(
        model_name=name,
        version=version(number),
        model_type="RandomForest",
        prediction_horizons=(1, 24),
        file_path=f"{name}/{number}.skops",
        feature_config={"features": ["lag_1h", "lag_2h"]},
        digest=f"{number:064x}",
        content_digest=f"c{number:063x}",
        format=ModelFormat.SKOPS,
        feature_signatures={1: "one", 24: "day"},
        outputs=2,
        trusted=True,
        metrics={"mae": 1.5},
    )
    return replace(made, **changes)


def register(ledger: Ledger, number: int = 1, name: str = "forest", actor: str = "desk") -> RegisteredModel:
    return ledger.registry.register(new_model(number, name), actor)[0]


def training(ledger: Ledger, name: str = "forest") -> RunLease:
    """A run that makes versions of the name, taken up."""
    run, _ = ledger.runs.start_or_join(f"registry:{name}", name, "test")
    lease = ledger.runs.lease(run.id, "worker", TTL)
    assert lease is not None
    return lease


def champion(ledger: Ledger, name: str = "forest") -> str | None:
    found = ledger.registry.get(name)
    return None if found is None else found.version


def new_prediction(hour: int = 0, horizon: int = 1, number: int = 1, **changes: Any) -> NewPrediction:
    """Of version `number`, made so many hours after noon; 100 and a bit."""
    made = NewPrediction(
        model_name="forest",
        model_version=version(number),
        stream=BTC,
        timestamp=NOON + hour * HOUR,
        prediction_horizon=horizon,
        predicted_value=100.5,
        current_price=100.0,
        lower=99.0,
        upper=102.0,
        level=0.9,
        interval_source=IntervalSource.CALIBRATION,
        features={"lag_1h": 100.0, "lag_2h": 99.5},
        feature_signature="one",
    )
    return replace(made, **changes)


def predicting(ledger: Ledger) -> Ledger:
    """Both streams, and two versions of `forest` and one of `linear`."""
    for key in (BTC, ETH):
        ledger.streams.register(key, Origin.REPLAY)
    for number, name in ((1, "forest"), (2, "forest"), (1, "linear")):
        register(ledger, number, name)
    return ledger


def saved(ledger: Ledger, *new: NewPrediction) -> list[SavedPrediction]:
    return [ledger.predictions.save(each)[0] for each in new]
