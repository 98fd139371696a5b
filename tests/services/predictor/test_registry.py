"""The registry over HTTP: the documented calls as they are printed, and what they refuse."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.predictor.api.registry import TRIALS, WAITING, router
from services.predictor.app import build
from services.predictor.schemas.registry import RegisteredView, RegisterModel
from services.predictor.service.catalogue import Catalogue
from services.predictor.settings import PredictorSettings
from tests.libs.registry.bundles import fitted, published
from tests.libs.registry.models import forest, onnx_line, skops_bytes
from tests.services.predictor.conftest import stored
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import Origin, Scope
from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import CandleFrame
from tidewheel.features.hourly import BASE, latest
from tidewheel.kit.auth import Actor
from tidewheel.kit.service import Service
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.registry.service import ModelService

HOURLY = StreamKey.parse("binance:BTC/USDT:1h")
START = 1_700_000_000_000 // HOUR * HOUR


def hours(count: int = 300, seed: int = 3) -> CandleFrame:
    """`count` contiguous hours of a random walk."""
    close = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, count)))
    opened = np.concatenate(([100.0], close[:-1]))
    rows = [
        (START + hour * HOUR, o, max(o, c) * 1.001, min(o, c) * 0.999, c, 10.0)
        for hour, (o, c) in enumerate(zip(opened.tolist(), close.tolist(), strict=True))
    ]
    return CandleFrame.from_rows(HOUR, rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "trained_models"
    folder.mkdir()
    return folder


@pytest.fixture
def registry(settings: Callable[..., PredictorSettings], root: Path) -> Iterator[TestClient]:
    """A predictor with a folder of models."""
    with TestClient(create_app(build(settings(trained_models_dir=root)))) as running:
        yield running


def registered(client: TestClient, **changes: Any) -> dict[str, Any]:
    body = {
        "model_name": "random_forest_v1",
        "model_type": "RandomForest",
        "prediction_horizons": [1, 3, 24],
        "file_path": "/app/trained_models/line.onnx",
    }
    answer = client.post("/models/register", json=body | changes)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_file_becomes_a_forecast(registry: TestClient, root: Path, ledger: Ledger) -> None:
    """Register, list, predict by POST and by GET, save, look at what was saved: each with the documented keys."""
    (root / "rf_model.skops").write_bytes(skops_bytes(forest()))
    stored(ledger, HOURLY, hours(), Origin.REPLAY)
    model = registered(registry, file_path="/app/trained_models/rf_model.skops")
    assert (model["aliases"], model["trusted"], model["format"]) == (["champion"], True, "skops")

    listed = registry.get("/models").json()["models"]
    assert [(each["model_name"], each["version"]) for each in listed] == [("random_forest_v1", model["version"])]

    answer = registry.post("/predict", json={"model_name": "random_forest_v1", "prediction_horizon": 24})
    body, frame = answer.json(), hours()
    expected = forest().predict(latest(frame, BASE, horizon=24, relative=False)[None, :])[0]
    assert answer.status_code == 200, answer.text
    assert body["predicted_value"] == pytest.approx(expected, rel=1e-12)
    assert body["base_timestamp"] == int(frame.open_time[-1])
    assert body["predicted_time"] == body["base_timestamp"] + 24 * HOUR
    assert body["current_price"] == float(frame.close[-1])
    assert body["prediction_id"] is None
    assert answer.headers["X-Model-Version"] == body["model_version"] == model["version"]

    kept = registry.get("/predict/random_forest_v1/3", params={"save_to_db": "true"}).json()
    again = registry.post("/predict", json={"model_name": "random_forest_v1", "save_to_db": True}).json()
    assert kept["prediction_id"] == again["prediction_id"]
    latest_ones = registry.get(
        "/predictions/latest", params={"model_name": "random_forest_v1", "horizon": 3, "limit": 5}
    )
    (saved,) = latest_ones.json()["predictions"]
    assert (saved["id"], saved["predicted_value"], saved["state"]) == (
        kept["prediction_id"], kept["predicted_value"], "open",
    )  # fmt: skip
    assert registry.get("/predictions/latest", params={"horizon": 24}).json() == {"predictions": []}


def test_a_bundle_of_ours_is_registered_and_served(
    registry: TestClient, settings: Callable[..., PredictorSettings], root: Path, ledger: Ledger
) -> None:
    """A folder with a manifest is read by what it says of itself, its interval too; where a file is added it is 409."""
    model = fitted(hours(700), (1, 24))
    folder = published(root, model)
    stored(ledger, HOURLY, hours(700), Origin.REPLAY)
    shown = registered(registry, prediction_horizons=[24], file_path=f"/app/trained_models/{folder}")
    assert (shown["format"], shown["feature_config"]["units"], shown["aliases"]) == ("bundle", "relative", ["champion"])

    body = registry.get("/predict/random_forest_v1/24").json()
    assert body["predicted_value"] == pytest.approx(float(model.forecast(24, hours(700))[-1]), rel=1e-12)
    assert (body["interval"]["source"], body["interval"]["n"]) == ("calibration", model.band(24).n)
    reach = float(model.reach(24, hours(700))[-1])
    assert body["interval"]["upper"] - body["predicted_value"] == pytest.approx(reach, rel=1e-9)

    (root / folder / "notes.txt").write_text("mine")
    with TestClient(create_app(build(settings(trained_models_dir=root)))) as restarted:
        answer = restarted.get("/predict/random_forest_v1/24")
    assert (answer.status_code, answer.json()["code"]) == (409, "model_file_changed")
    assert "extra files: notes.txt" in answer.json()["detail"]
    again = {"model_name": "m", "model_type": "x", "prediction_horizons": [24], "file_path": folder}
    refused = registry.post("/models/register", json=again)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_model")


def test_the_documented_errors(registry: TestClient, root: Path) -> None:
    """The documented sentences stand word for word beside a code."""
    (root / "line.onnx").write_bytes(onnx_line())
    registered(registry)
    told = [
        ("nobody/3", "model_not_found", "Model 'nobody' not found or inactive"),
        (
            "random_forest_v1/7", "horizon_not_supported",
            "Horizon 7h not supported by model 'random_forest_v1'. Supported horizons: [1, 3, 24]",
        ),
        ("random_forest_v1/3", "no_historical_data", "No historical data available for prediction"),
    ]  # fmt: skip
    for call, code, detail in told:
        answer = registry.get(f"/predict/{call}")
        assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (400, code, detail)


def test_a_missing_file_and_a_changed_one(registry: TestClient, root: Path, ledger: Ledger) -> None:
    """A file that is not there is 404, in the words of the document; one that changed is 409 and is not loaded."""
    body = {"model_name": "gone", "model_type": "x", "prediction_horizons": [1], "file_path": "gone.skops"}
    answer = registry.post("/models/register", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (404, "Model file not found: gone.skops")

    stored(ledger, HOURLY, hours(), Origin.REPLAY)
    (root / "line.onnx").write_bytes(onnx_line())
    registered(registry)
    (root / "line.onnx").write_bytes(b"another")
    answer = registry.get("/predict/random_forest_v1/3")
    assert (answer.status_code, answer.json()["code"]) == (409, "model_file_changed")
    assert "let the alias name that version" in answer.json()["detail"]
    (root / "line.onnx").unlink()
    assert registry.get("/predict/random_forest_v1/3").status_code == 404


@pytest.mark.parametrize(
    ("slope", "units", "fitting"), [(1.0, "price", None), (0.001, "price", "relative"), (1e6, "relative", "price")]
)
def test_mistaken_units_are_told(
    registry: TestClient, root: Path, ledger: Ledger, slope: float, units: str, fitting: str | None
) -> None:
    """A forecast beyond twice the price, or below half of it, warns and names the units that would fit."""
    stored(ledger, HOURLY, hours(), Origin.REPLAY)
    (root / "line.onnx").write_bytes(onnx_line(slope))  # `slope` times the mean of these
    registered(
        registry, feature_config={"features": ["lag_1h", "lag_2h", "lag_24h", "SMA_10h", "close_price"], "units": units}
    )
    warnings = registry.get("/predict/random_forest_v1/3", params={"model_version": "champion"}).json()["warnings"]
    far = [each for each in warnings if "is far from the price" in each]
    assert len(far) == (0 if fitting is None else 1)
    assert all(f'"units": "{fitting}"' in each for each in far)


def test_a_second_version_waits_for_the_alias(registry: TestClient, root: Path, ledger: Ledger) -> None:
    """The same again is 200 and the same version; another file is a version beside the champion until it is moved."""
    stored(ledger, HOURLY, hours(), Origin.REPLAY)
    (root / "line.onnx").write_bytes(onnx_line())
    first = registered(registry)
    assert registered(registry)["version"] == first["version"]
    (root / "other.onnx").write_bytes(onnx_line(2.0))
    second = registered(registry, file_path="other.onnx")
    assert second["aliases"] == []
    waits = f"aliases/champion names {second['version']}"
    assert [sum(waits in told for told in each["warnings"]) for each in (first, second)] == [0, 1]
    assert registry.get("/predict/random_forest_v1/3").json()["model_version"] == first["version"]
    named = registry.get("/predict/random_forest_v1/3", params={"model_version": second["version"]})
    assert named.json()["model_version"] == second["version"]

    moved = registry.put(
        "/models/random_forest_v1/aliases/champion", json={"version": second["version"], "reason": "better"}
    )
    assert (moved.status_code, moved.json()["previous"]) == (200, first["version"])
    assert registry.get("/predict/random_forest_v1/3").json()["model_version"] == second["version"]
    history = registry.get("/models/random_forest_v1").json()
    assert [each["version"] for each in history["versions"]] == [second["version"], first["version"]]
    assert [each["version"] for each in history["alias_moves"]] == [first["version"], second["version"]]

    off = registry.put(f"/models/random_forest_v1/versions/{second['version']}/active", json={"is_active": False})
    assert off.status_code == 200
    assert registry.get("/predict/random_forest_v1/3").json()["code"] == "model_not_found"


def test_many_registrations_leave_room_for_others(
    settings: Callable[..., PredictorSettings], root: Path, ledger: Ledger
) -> None:
    """A few are tried at once and some more wait; who comes on top is told to come back, and others are answered."""
    go_on = threading.Event()

    class Slow(Catalogue):
        def register(self, body: RegisterModel, actor: Actor) -> tuple[RegisteredView, bool]:
            go_on.wait(20)
            return super().register(body, actor)

    (root / "m.joblib").write_bytes(b"never opened")
    slow = router(Slow(ledger, ModelService(root)))
    service = Service(name=Role.PREDICTOR, settings=settings(), routers=[slow], pings=[], keys=ledger.keys)
    body = {"model_type": "x", "prediction_horizons": [1], "file_path": "m.joblib"}
    with TestClient(create_app(service)) as client, ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(client.post, "/models/register", json=body | {"model_name": f"m{n}"}) for n in range(16)]
        first = islice(as_completed(asked, 20), 16 - TRIALS - WAITING)
        refused = [each.result() for each in first]
        assert client.get("/models").status_code == 200
        go_on.set()
        done = [each.result().status_code for each in asked]
    assert {(each.status_code, each.json()["code"], each.headers["Retry-After"]) for each in refused} == {
        (429, "overloaded", "5")
    }
    assert sorted(done) == [201] * (TRIALS + WAITING) + [429] * len(refused)


def test_a_key_that_reads_may_look_and_not_save(
    settings: Callable[..., PredictorSettings], root: Path, ledger: Ledger
) -> None:
    """Saving needs the scope that registering needs, by GET as by POST."""
    stored(ledger, HOURLY, hours(), Origin.REPLAY)
    (root / "line.onnx").write_bytes(onnx_line())
    reads, writes = (ledger.keys.create({scope}, "test")[1] for scope in (Scope.READ, Scope.REGISTRY))
    with TestClient(create_app(build(settings(trained_models_dir=root, auth_mode="keys")))) as client:
        client.headers["Authorization"] = f"Bearer {writes}"
        registered(client)
        client.headers["Authorization"] = f"Bearer {reads}"
        assert client.get("/predict/random_forest_v1/3").status_code == 200
        refused = [
            client.get("/predict/random_forest_v1/3", params={"save_to_db": "true"}),
            client.post("/predict", json={"model_name": "random_forest_v1", "save_to_db": True}),
        ]
        assert [(each.status_code, each.json()["code"]) for each in refused] == [(403, "not_authorised")] * 2
    assert ledger.predictions.latest() == []


@pytest.mark.parametrize(
    "field", [{"prediction_horizon": True}, {"prediction_horizon": "3"}, {"save_to_db": 1}, {"model_version": ""}]
)
def test_a_value_of_another_kind_is_not_taken_for_one(registry: TestClient, field: dict[str, Any]) -> None:
    """True is no hour, 1 no wish to save, and nothing no version."""
    answer = registry.post("/predict", json={"model_name": "random_forest_v1"} | field)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")
