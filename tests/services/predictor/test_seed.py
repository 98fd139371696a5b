"""Each call that the document of the registry prints, in its order, by a user who has nothing but the document."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from services.fleet.commands.models import models
from services.ml_trainer.service.registry.ordering import order
from services.ml_trainer.service.trainings import build_trainer
from services.ml_trainer.settings import TrainerSettings
from services.model_service import ModelService
from services.predictor.app import build
from services.predictor.settings import PredictorSettings
from tests.services.ml_trainer.hourly import FitHere
from tests.services.predictor.conftest import stored
from tests.services.predictor.test_registry import HOURLY, hours
from tidewheel.contracts.keys import BASELINE
from tidewheel.contracts.states import Origin, RunState
from tidewheel.features.hourly import BASE, table, target
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.registry.export import FILE_NAME

RESULT = {
    "model_name", "base_timestamp", "prediction_horizon", "predicted_value", "predicted_time", "current_price",
}  # fmt: skip
STORED = 600  #: hours


@pytest.fixture
def root(tmp_path: Path, data_dir: Path, ledger_dsn: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models folder; commands find it, and the ledger, which holds hours."""
    folder = tmp_path / "trained_models"
    folder.mkdir()
    stored(ledger, HOURLY, hours(STORED), Origin.REPLAY)
    for name, value in (("TRAINED_MODELS_DIR", folder), ("LEDGER_DB", ledger_dsn), ("DATA_DIR", data_dir)):
        monkeypatch.setenv(name, str(value))
    return folder


@pytest.fixture
def client(settings: Callable[..., PredictorSettings], root: Path) -> Iterator[TestClient]:
    with TestClient(create_app(build(settings(trained_models_dir=root)))) as running:
        yield running


def fitted(root: Path, name: str, features: tuple[str, ...] = BASE, **options: Any) -> Any:
    """A forest fitted as the document does it, and dumped by joblib into the models folder."""
    from sklearn.ensemble import RandomForestRegressor

    rows = table(hours(STORED), features, horizon=3, relative=False)
    wanted = target(hours(STORED), 3, relative=False)
    known = ~(np.isnan(rows).any(axis=1) | np.isnan(wanted))
    model = RandomForestRegressor(n_estimators=20, random_state=1)
    model.fit(rows[known], wanted[known])
    joblib.dump(model, root / name, **options)
    return model


def ask(client: TestClient, path: str, body: Mapping[str, Any], expect: int = 200) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == expect, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_joblib_file_goes_from_training_to_forecast(client: TestClient, root: Path) -> None:
    """Train, dump, register, trust with the command that the refusal names, predict and save.

    Nobody knows how wide a pickle's input is before it was converted: a version that names another number of features
    than the file turns out to want answers only that.
    """
    model = fitted(root, "my_model.joblib", compress=3)
    registration = {
        "model_name": "random_forest_v1",
        "model_type": "RandomForest",
        "prediction_horizons": [1, 3, 24, 168],
        "file_path": "/app/trained_models/my_model.joblib",
    }
    wrong = registration | {"model_name": "my_new_model", "feature_config": {"features": ["lag_1h", "lag_2h"]}}
    question = {"model_name": "random_forest_v1", "prediction_horizon": 24, "save_to_db": True}

    registered = ask(client, "/models/register", registration, expect=201)
    ask(client, "/models/register", wrong, expect=201)
    refused = ask(client, "/predict", question, expect=403)
    command = re.search(r"`tidewheel (models trust [0-9a-f]{64})`", refused["detail"])
    assert (registered["trusted"], refused["code"]) == (False, "model_not_trusted")
    assert command is not None and command[0] in registered["warnings"][0]
    trusted = CliRunner().invoke(models, command[1].split()[1:], catch_exceptions=False)
    assert "my_model.skops" in trusted.stdout

    answer = ask(client, "/predict", question)
    row = table(hours(STORED), BASE, horizon=24, relative=False)[-1:]
    assert answer["predicted_value"] == pytest.approx(float(model.predict(row)[0]), rel=1e-12)
    assert answer["prediction_id"] is not None
    assert answer["horizon_blind"] and "one number" in answer["warnings"][0]
    refused = ask(client, "/predict", {"model_name": "my_new_model", "prediction_horizon": 24}, expect=422)
    assert refused["code"] == "feature_mismatch"
    assert "the model wants 5 features and feature_config names 2" in refused["detail"]


def test_a_model_with_features_of_its_own(client: TestClient, root: Path) -> None:
    """The document's feature_config; a file that is not there is told by the path that was sent."""
    names = ("lag_1h", "lag_2h", "lag_24h", "SMA_10h")
    registration = {
        "model_name": "random_forest_v1",
        "model_type": "RandomForest",
        "prediction_horizons": [1, 3, 24],
        "file_path": "/app/trained_models/rf_model.joblib",
        "feature_config": {"features": list(names)},
    }
    refused = ask(client, "/models/register", registration, expect=404)
    assert refused["detail"] == "Model file not found: /app/trained_models/rf_model.joblib"
    fitted(root, "rf_model.joblib", names)
    registered = ask(client, "/models/register", registration, expect=201)
    assert (registered["feature_config"], registered["aliases"]) == ({"features": list(names)}, ["champion"])


@pytest.fixture
def baseline(root: Path, ledger: Ledger, tmp_path: Path) -> Callable[[], None]:
    """Trains the registry's baseline as the fleet does when it has none."""

    def trained() -> None:
        settings = load(TrainerSettings, models_dir=tmp_path / "models", auth_mode="dev", trained_models_dir=root)
        order(ledger, BASELINE, HOURLY, "test")
        run = build_trainer(ledger, FitHere(tmp_path / "work"), settings).run(1)
        assert run is not None and run.state is RunState.PROMOTED

    return trained


def test_the_baseline_and_the_test_model(client: TestClient, baseline: Callable[[], None]) -> None:
    """By POST and GET, saved or not, filtered; and the file of the test model, which forecasts what the baseline does.

    The document names it as .joblib: its conversion stands for it, and the answer says so.
    """
    baseline()
    registration = {
        "model_name": "test_model",
        "model_type": "LinearRegression",
        "prediction_horizons": [1, 3],
        "file_path": "/app/trained_models/baseline_model.joblib",
    }
    registered = ask(client, "/models/register", registration, expect=201)
    assert (registered["trusted"], registered["file_path"]) == (True, "baseline_model.skops")
    assert "stands for it" in registered["warnings"][0]

    looked = ask(client, "/predict", {"model_name": "baseline", "prediction_horizon": 3, "save_to_db": False})
    saved = ask(client, "/predict", {"model_name": "baseline", "prediction_horizon": 3, "save_to_db": True})
    quick = client.get("/predict/baseline/3?save_to_db=true").json()
    same = client.get("/predict/test_model/3").json()
    assert looked.keys() >= RESULT
    assert (looked["prediction_id"], saved["prediction_id"]) == (None, quick["prediction_id"])
    assert same["predicted_value"] == pytest.approx(looked["predicted_value"], rel=1e-12)
    assert looked["interval"]["source"] == "calibration"

    assert {each["model_name"] for each in client.get("/models").json()["models"]} == {"baseline", "test_model"}
    counts = {
        query: len(client.get(f"/predictions/latest?{query}").json()["predictions"])
        for query in ("model_name=baseline", "horizon=24", "model_name=baseline&horizon=3&limit=5")
    }
    assert list(counts.values()) == [1, 0, 1]


def test_the_documented_calls_in_python(root: Path, ledger: Ledger, baseline: Callable[[], None]) -> None:
    """/app/trained_models names the folder of the setting; each call takes `db` where the document puts it."""
    (root / FILE_NAME).touch()  # writing it takes seconds, and nobody asks for it here
    baseline()
    db = ledger
    model_service = ModelService(models_directory="/app/trained_models")

    model_data = model_service.load_model("baseline", db)
    result = model_service.make_prediction(model_name="baseline", horizon=24, db=db, save_to_db=True)
    again = model_service.load_model("baseline", db)

    assert result.keys() >= RESULT
    assert again.forecasts is model_data.forecasts
    assert ledger.predictions.latest("baseline", 24)[0].id == result["prediction_id"]
    fitted(root, "my_model.joblib", ("lag_1h", "lag_2h"))
    registered = model_service.register_model(
        model_name="my_new_model",
        model_type="RandomForest",
        prediction_horizons=[1, 3, 24, 168],
        file_path="/app/trained_models/my_model.joblib",
        feature_config={"features": ["lag_1h", "lag_2h"]},
        db=db,
    )
    assert not registered.trusted
