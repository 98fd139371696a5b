"""A trainer over a real ledger and a real models directory."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from services.ml_trainer.service.fitting import CHILD_MODULE, FitChild
from services.ml_trainer.service.trainer import Trainer
from services.ml_trainer.service.trainings import build_trainer
from services.ml_trainer.settings import TrainerSettings
from tests.libs.models.worlds import START, market
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import ClaimState, Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import SealedFile
from tidewheel.models.regime import RegimeModel
from tidewheel.modelstore.store import ModelStore

BTC = StreamKey("binance", "BTC/USDT", "1m")
ETH = StreamKey("binance", "ETH/USDT", "1m")
CHILDREN = "tests.services.ml_trainer.children"
BARS = 6_500  #: enough for 20 blocks of hold-out

Feed = Callable[..., SealedFile]
Build = Callable[..., Trainer]
Queue = Callable[[], int]
InThread = Callable[[Callable[[], object]], threading.Thread]


@pytest.fixture
def feed(ledger: Ledger) -> Feed:
    """Seal candles of a stream."""

    def seal(frame: CandleFrame, key: StreamKey = BTC, origin: Origin = Origin.EXCHANGE) -> SealedFile:
        ledger.streams.register(key, origin)
        with ledger.leases.hold(f"stream:{key}", "test", 10_000) as held:
            ledger.bars.append(held.lease, key, frame, "test")
            sealed = ledger.bars.seal(held.lease, key)
        assert sealed is not None
        return sealed

    return seal


@pytest.fixture
def settings(tmp_path: Path, ledger_dsn: str, data_dir: Path) -> TrainerSettings:
    """Small and quick, with one EM start where a user must have three; strict as by default."""
    usual = load(
        TrainerSettings,
        tidewheel_home=tmp_path,
        data_dir=data_dir,
        models_dir=tmp_path / "models",
        ledger_db=ledger_dsn,
        auth_mode="dev",
        min_train_bars=500,
        lease_seconds=30.0,
        instance="trainer-under-test",
    )
    return usual.model_copy(update={"restarts": 1})


@pytest.fixture
def store(settings: TrainerSettings) -> ModelStore:
    """The models directory."""
    return ModelStore(settings.models_dir)


@pytest.fixture
def build(ledger: Ledger, settings: TrainerSettings) -> Build:
    """A trainer with another child or other settings."""

    def make(child: str = CHILD_MODULE, **changed: object) -> Trainer:
        used = settings.model_copy(update=changed)
        return build_trainer(ledger, FitChild(used.data_dir / "work", child), used)

    return make


@pytest.fixture(scope="session")
def fitted() -> Mapping[str, bytes]:
    """Payload of a model that fits `market(..., 1)` well."""
    return RegimeModel.fit({str(BTC): [market(BARS, 1)]}, seed=42, restarts=1).to_payload()


@pytest.fixture
def canned(settings: TrainerSettings, fitted: Mapping[str, bytes]) -> str:
    """The child that finds its result ready."""
    folder = settings.data_dir / "work" / "canned"
    folder.mkdir(parents=True)
    for name, content in fitted.items():
        (folder / name).write_bytes(content)
    return f"{CHILDREN}.canned"


@pytest.fixture
def queue(ledger: Ledger) -> Queue:
    """Queue a run of the consumer hmm; its id."""
    return lambda: ledger.runs.start_or_join("hmm", "hmm", "test")[0].id


@pytest.fixture
def in_thread() -> Iterator[InThread]:
    """Run something beside the test; the test waits for its end."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def claims(ledger: Ledger) -> dict[ClaimState, int]:
    """How many files stand where, without zeros."""
    return {state: count for state, count in ledger.claims.states("hmm").items() if count}


def later(frame: CandleFrame, bars: int) -> CandleFrame:
    """The same candles, `bars` bars later."""
    shift = bars * frame.step
    rows = [(time + shift, *rest) for time, *rest in frame.rows()]
    return CandleFrame.from_rows(frame.step, rows)


__all__ = ["BARS", "BTC", "CHILDREN", "ETH", "START", "later", "market"]
