"""A ledger and a models directory with versions that no fit was needed for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.messages import Message
from tidewheel.contracts.states import Origin
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import NewVersion
from tidewheel.modelstore.bundle import BundleMeta
from tidewheel.modelstore.store import ModelStore, Staged

Publish = Callable[..., str]
BTC = StreamKey("binance", "BTC/USDT", "1m")


class Sent:
    """A broker that keeps what it was given; `away` is raised instead while set."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        self.away: Exception | None = None
        self.on_publish: Callable[[], object] = lambda: None

    def send(self, message: Message) -> str:
        """Keep a message."""
        self._check()
        self.messages.append(message)
        return str(len(self.messages))

    def publish(self, channel: str, payload: object) -> None:
        """Keep an event."""
        self._check()
        assert isinstance(payload, dict)
        self.on_publish()
        self.events.append((channel, payload))

    def _check(self) -> None:
        if self.away is not None:
            raise self.away


@pytest.fixture
def sent() -> Sent:
    """An empty broker."""
    return Sent()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty models directory."""
    return ModelStore(tmp_path / "models")


@pytest.fixture
def trained(tmp_path: Path) -> ModelStore:
    """An empty folder of registered models."""
    return ModelStore(tmp_path / "trained_models")


@pytest.fixture
def cache(tmp_path: Path) -> ModelStore:
    """BounceHunter's cache, empty."""
    return ModelStore(tmp_path / "model_cache")


def stage(store: ModelStore, number: int, family: str = "hmm") -> Staged:
    """A staged bundle of `number`: the same bytes and version each time."""
    meta = BundleMeta(
        data_as_of=1_768_089_600_000,
        max_feature_time=1_768_089_540_000,
        feature_signature="0" * 64,
        seed=number,
        code_digest="1" * 64,
        origin=Origin.EXCHANGE,
        metrics={},
        metric_name="holdout_score",
        metric_value=None,
        claimed_files=0,
        lineage={},
    )
    return store.stage(family, {"model.json": json.dumps({"number": number}).encode()}, meta)


@pytest.fixture
def publish(ledger: Ledger, store: ModelStore) -> Publish:
    """Publish another version of hmm, promoted or refused; its name. `current` is not moved."""
    made: list[str] = []

    def make(*, passed: bool = True) -> str:
        made.append("")
        staged = stage(store, len(made))
        store.publish(staged)
        manifest = staged.manifest
        run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
        lease = ledger.runs.lease(run.id, "test", 60_000)
        assert lease is not None
        verdict = Verdict(steps=(StepResult(step="champion", passed=passed, reason="a test said so"),))
        with lease:
            lease.publish(
                NewVersion(
                    family="hmm",
                    version=staged.version,
                    digest=staged.digest,
                    data_as_of=manifest.data_as_of,
                    seed=manifest.seed,
                    code_digest=manifest.code_digest,
                    parent=None,
                    metrics={},
                    lineage={},
                    manifest=manifest.model_dump(mode="json"),
                    origin=Origin.EXCHANGE,
                ),
                verdict,
            )
        return staged.version

    return make
