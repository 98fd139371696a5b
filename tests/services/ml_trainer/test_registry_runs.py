"""A registry run from hours to verdict, and what is served then."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from services.ml_trainer.service.fitting import FitChild
from services.ml_trainer.service.registry.ordering import order
from services.ml_trainer.service.trainer import Trainer
from services.ml_trainer.service.trainings import build_trainer
from services.ml_trainer.settings import TrainerSettings
from services.predictor.app import build as build_predictor
from services.predictor.settings import PredictorSettings
from tests.services.ml_trainer.conftest import Feed
from tests.services.ml_trainer.hourly import HOURLY, HOURS, FitHere, kinked, reverting
from tidewheel.contracts.states import RunState
from tidewheel.contracts.times import HOUR
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run

Train = Callable[..., Run]


@pytest.fixture
def trainer(ledger: Ledger, settings: TrainerSettings) -> Trainer:
    """One that fits in this process."""
    return build_trainer(ledger, FitHere(settings.data_dir / "work"), settings)


@pytest.fixture
def train(ledger: Ledger, trainer: Trainer) -> Train:
    """Order a run and carry it out."""

    def carried_out(name: str = "baseline", by: Trainer = trainer) -> Run:
        run = by.run(order(ledger, name, HOURLY, "test")[0].id)
        assert run is not None
        return run

    return carried_out


def test_what_is_trained_is_served_at_once(ledger: Ledger, settings: TrainerSettings, feed: Feed, train: Train) -> None:
    """The first baseline is champion at once, a forest that sees what it does not becomes the champion of its own name;
    a predictor that has run since before answers with both."""
    frame = kinked()
    feed(frame, HOURLY)
    predictor = load(
        PredictorSettings,
        **{name: getattr(settings, name) for name in ("tidewheel_home", "data_dir", "models_dir", "ledger_db")},
        trained_models_dir=settings.trained_models_dir,
        redis_url="redis://127.0.0.1:1/0",
        auth_mode="dev",
    )
    with TestClient(create_app(build_predictor(predictor))) as client:
        assert client.get("/predict/baseline/3").json()["code"] == "model_not_found"
        in_a_child = build_trainer(ledger, FitChild(settings.data_dir / "work"), settings)
        baseline, forest = train("baseline", in_a_child), train("random_forest")
        told = {name: client.get(f"/predict/{name}/3").json() for name in ("baseline", "random_forest")}

    assert (baseline.state, forest.state) == (RunState.PROMOTED, RunState.PROMOTED), (baseline, forest)
    assert (baseline.claimed_files, baseline.window_bars) == (0, HOURS - HOURS // 5)
    assert baseline.progress == {"horizon": 168, "done": 4, "horizons": 4}
    assert (baseline.reason or "").startswith("left out: 24 h: ")
    assert baseline.verdict is not None and forest.verdict is not None
    steps = ["schema", "digest", "canary", "forecast_champion"]
    assert [step.step for step in baseline.verdict.steps] == [step.step for step in forest.verdict.steps] == steps
    assert "is the first of its name" in baseline.verdict.steps[-1].reason
    assert forest.verdict.steps[-1].numbers["opponent"] == f"baseline {baseline.version}"
    for name, run in (("baseline", baseline), ("random_forest", forest)):
        assert told[name]["model_version"] == run.version
        assert told[name]["base_timestamp"] == int(frame.open_time[-1])
        assert told[name]["interval"]["source"] == "calibration"
        row = ledger.registry.get(name)
        assert row is not None and (row.version, row.run_id, row.stream) == (run.version, run.id, HOURLY)
        assert row.data_as_of == int(frame.open_time[-1]) + HOUR
        assert row.metrics["horizons"].keys() == {"1", "3"}


def test_what_is_not_surely_better_is_registered_and_moves_nothing(ledger: Ledger, feed: Feed, train: Train) -> None:
    """The forest stands on record with its verdict and no alias; the same bars again are the same version."""
    feed(reverting(), HOURLY)
    baseline = train()

    first, again = train("random_forest"), train("random_forest")

    assert first.state is again.state is RunState.REFUSED
    assert first.verdict is not None and first.verdict.refusal is not None
    assert first.verdict.refusal.step == "forecast_champion"
    assert first.verdict.refusal.reason.startswith(f"not surely better than baseline {baseline.version}")
    assert ledger.registry.get("random_forest") is None
    assert [row.version for row in ledger.registry.versions("random_forest")] == [first.version]
    assert again.version == first.version
