from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.predictor.app import build
from services.predictor.settings import PredictorSettings
from tests.libs.models.worlds import START, candles
from tests.libs.modelstore.regimes import returns
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore

BTC = StreamKey.parse("binance:BTC/USDT:1m")
NOWHERE = "redis://127.0.0.1:1/0"  #: no bus at all: everything must work by polling


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def settings(tmp_path: Path, data_dir: Path, store: ModelStore, ledger_dsn: str) -> Callable[..., PredictorSettings]:
    """Settings of a predictor on the test's ledger and store."""

    def make(**changes: Any) -> PredictorSettings:
        values: dict[str, Any] = {
            "ledger_db": ledger_dsn,
            "data_dir": data_dir,
            "models_dir": store.models_dir,
            "redis_url": NOWHERE,
            "auth_mode": "dev",
            "instance": "predictor-test",
        }
        return load(PredictorSettings, **(values | changes))

    return make


@pytest.fixture
def client(settings: Callable[..., PredictorSettings]) -> Iterator[TestClient]:
    """A running predictor."""
    with TestClient(create_app(build(settings()))) as running:
        yield running


def stored(ledger: Ledger, key: StreamKey, frame: CandleFrame, origin: Origin = Origin.SYNTHETIC) -> None:
    """Append bars to a stream, as its one writer."""
    ledger.streams.register(key, origin)
    with ledger.leases.hold(f"stream:{key}", "test", 30_000) as held:
        ledger.bars.append(held.lease, key, frame, "test")


def bars(count: int, *, start: int = START, seed: int = 1, step: int = 60_000) -> CandleFrame:
    """`count` contiguous bars."""
    return candles(np.array(returns(count - 1, seed)), start=start, step=step)
