"""Predictions meet what came: the keeper hints, the worker scores, the metrics tell."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.fleet.keeper.relay import Due, score_stream
from services.predictor.app import build, build_worker
from services.predictor.settings import PredictorSettings
from tests.libs.registry.models import onnx_line
from tests.services.fleet.keeper.conftest import Sent
from tests.services.predictor.conftest import stored
from tests.services.predictor.test_registry import HOURLY, hours, registered
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.messages import ScorePredictions
from tidewheel.contracts.states import Origin, PredictionState
from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import CandleFrame
from tidewheel.features.hourly import BASE
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.models.drift import MIN_SAMPLES, Reference
from tidewheel.registry.drifting import drifts
from tidewheel.registry.scoring import score

OTHER = StreamKey.parse("binance:ZZZ/USDT:1h")
FIRST = 300  #: hours that are stored when the first prediction is made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "trained_models"
    folder.mkdir()
    (folder / "line.onnx").write_bytes(onnx_line())
    return folder


@pytest.fixture
def client(settings: Callable[..., PredictorSettings], root: Path, ledger: Ledger) -> Iterator[TestClient]:
    """A predictor with a registered model and 300 hours."""
    stored(ledger, HOURLY, hours(FIRST), Origin.REPLAY)
    with TestClient(create_app(build(settings(trained_models_dir=root)))) as running:
        registered(running)
        yield running


def later(ledger: Ledger, frame: CandleFrame) -> None:
    """Store what follows."""
    with ledger.leases.hold(f"stream:{HOURLY}", "test", 30_000) as held:
        ledger.bars.append(held.lease, HOURLY, frame, "test")


def test_a_prediction_is_scored_once_its_hour_is_over(
    client: TestClient, settings: Callable[..., PredictorSettings], root: Path, ledger: Ledger
) -> None:
    """Hinted at when due, scored by the worker's handler, and its error stands beside the naive one."""
    made = client.get("/predict/random_forest_v1/3", params={"save_to_db": "true"}).json()
    sent = Sent()
    duty = Due(sent, ledger.predictions.due, score_stream)
    duty()
    assert sent.messages == []
    assert score(ledger, HOURLY) == 0

    whole = hours(FIRST + 3)
    later(ledger, whole.between(int(hours(FIRST).open_time[-1]) + HOUR, None))
    duty()
    duty()
    assert sent.messages == [ScorePredictions(stream=str(HOURLY))]
    worker = build_worker(settings(trained_models_dir=root))
    assert worker.tasks[ScorePredictions](sent.messages[0]) == 1
    assert worker.tasks[ScorePredictions](sent.messages[0]) == 0
    for close in worker.close:
        close()

    (saved,) = ledger.predictions.latest()
    came = float(whole.close[-1])
    assert (saved.state, saved.actual_value) == (PredictionState.KNOWN, came)
    found = {each["horizon"]: each for each in client.get("/models/random_forest_v1/metrics").json()["horizons"]}
    assert found[3]["n"] == 1
    assert found[3]["mae"] == found[3]["rmse"] == pytest.approx(abs(made["predicted_value"] - came))
    assert found[3]["naive_mae"] == pytest.approx(abs(made["current_price"] - came))
    assert found[3]["skill"] == pytest.approx(1 - found[3]["mae"] / found[3]["naive_mae"])
    assert (found[1]["n"], found[1]["mae"], found[1]["skill"]) == (0, None, None)


def test_streams_are_told_apart(client: TestClient, ledger: Ledger) -> None:
    """Errors in units of one price are not averaged with those of another; a stream that is not there is refused."""
    stored(ledger, OTHER, hours(FIRST + 3), Origin.REPLAY)
    for stream in (HOURLY, OTHER):
        made = client.get("/predict/random_forest_v1/3", params={"save_to_db": "true", "stream": str(stream)})
        assert made.json()["stream"] == str(stream)
    metrics = "/models/random_forest_v1/metrics"
    for asked, stream in (({}, HOURLY), ({"stream": str(OTHER)}, OTHER)):
        told = client.get(metrics, params=asked).json()
        (one,) = [each for each in told["horizons"] if each["horizon"] == 3]
        assert (told["stream"], one["open"], one["drift"]["lag_1h"]["n"]) == (str(stream), 1, 1)
    refused = client.get(metrics, params={"stream": "binance:XYZ/USDT:1h"})
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_an_hour_that_never_comes_is_missing_after_a_day(client: TestClient, ledger: Ledger) -> None:
    """Until the stream is a day beyond it a backfill may bring the hour; it is never filled by a neighbour."""
    client.get("/predict/random_forest_v1/3", params={"save_to_db": "true"})
    whole = hours(FIRST + 40)
    start = int(hours(FIRST).open_time[-1]) + HOUR
    later(ledger, whole.between(start, start + 2 * HOUR))
    later(ledger, whole.between(start + 3 * HOUR, start + 26 * HOUR))  # without the hour that was predicted
    assert score(ledger, HOURLY) == 0
    assert ledger.predictions.latest()[0].state is PredictionState.OPEN
    later(ledger, whole.between(start + 26 * HOUR, start + 30 * HOUR))
    assert score(ledger, HOURLY) == 1
    assert ledger.predictions.latest()[0].state is PredictionState.MISSING
    (one,) = [
        each for each in client.get("/models/random_forest_v1/metrics").json()["horizons"] if each["horizon"] == 3
    ]
    assert (one["n"], one["missing"], one["skill"]) == (0, 1, None)


def test_intervals_come_from_what_came(client: TestClient, ledger: Ledger) -> None:
    """Of a user's model no residual is known but its own: nine of them make an interval, and its coverage is told."""
    first = client.get("/predict/random_forest_v1/1").json()["interval"]
    assert (first["lower"], first["source"], first["n"]) == (None, "none", 0)
    assert "needs 9" in first["why"]
    whole = hours(FIRST + 30)
    for hour in range(20):
        client.get("/predict/random_forest_v1/1", params={"save_to_db": "true"})
        at = int(hours(FIRST).open_time[-1]) + (hour + 1) * HOUR
        later(ledger, whole.between(at, at + HOUR))
        assert score(ledger, HOURLY) == 1
    answer = client.get("/predict/random_forest_v1/1").json()
    interval = answer["interval"]
    scored = ledger.predictions.scored("random_forest_v1", answer["model_version"], HOURLY, 1, 99)
    off = np.sort([abs(each.actual_value - each.predicted_value) / each.current_price for each in scored])  # type: ignore[operator]
    assert (interval["source"], interval["n"], interval["level"]) == ("outcomes", 20, 0.9)
    assert interval["upper"] - answer["predicted_value"] == pytest.approx(off[18] * answer["current_price"])
    assert interval["measured_n"] == 11
    held = [each.lower <= each.actual_value <= each.upper for each in scored if each.lower is not None]  # type: ignore[operator]
    assert interval["measured_coverage"] == pytest.approx(np.mean(held))


def test_drift_is_told_from_registration_on(client: TestClient, ledger: Ledger) -> None:
    """Each input is compared with the hours that were stored at registration; below a hundred there is no number."""
    client.get("/predict/random_forest_v1/1", params={"save_to_db": "true"})
    (one, *_) = client.get("/models/random_forest_v1/metrics").json()["horizons"]
    assert set(one["drift"]) == set(BASE)
    assert {(each["psi"], each["n"], each["judgement"]) for each in one["drift"].values()} == {(None, 1, None)}
    (model,) = ledger.registry.versions("random_forest_v1")
    assert model.reference is not None
    made = ledger.predictions.latest() * MIN_SAMPLES  # one input, again and again: all of them in one bin
    reference = {name: Reference.of(np.linspace(0.0, 200.0, 500)) for name in BASE}
    found = drifts(made, reference)
    assert all(drift is not None and drift.psi is not None and drift.judgement == "drifted" for drift in found.values())
    assert drifts(made, {}) == dict.fromkeys(sorted(BASE))
