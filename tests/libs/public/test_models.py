"""`ModelService` as its document uses it."""

from pathlib import Path

import numpy as np
import pytest

from services.model_service import ModelService
from tests.libs.registry.models import onnx_line
from tests.services.predictor.conftest import stored
from tests.services.predictor.test_registry import HOURLY, hours
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.states import Origin
from tidewheel.ledger.open import Ledger
from tidewheel.public import models

DOCUMENTED = {
    "model_name", "base_timestamp", "prediction_horizon", "predicted_value", "predicted_time", "current_price",
}  # fmt: skip


def test_training_rows_of_several_horizons(ledger: Ledger) -> None:
    """The closes have a column for each horizon, of the hours at which all are known; of one they are flat."""
    stored(ledger, HOURLY, hours(), Origin.REPLAY)
    _, day = models.training_rows(ledger, str(HOURLY), 24)
    rows, both = models.training_rows(ledger, str(HOURLY), [1, 24])
    close = hours().close[24:-24]  # the day's lag, and the day ahead
    assert rows.shape == (252, 5) and both.shape == (252, 2) and day.shape == (252,)
    assert np.array_equal(both, np.column_stack([hours().close[25:-23], hours().close[48:]]) / close[:, None] - 1)
    assert np.array_equal(both[:, 1], day)
    with pytest.raises(BadInput, match=r"cannot be \[1, 24\] in one row"):
        models.training_rows(ledger, str(HOURLY), [1, 24], ["lag_1h", "horizon"])
    with pytest.raises(BadInput, match="no horizon is named"):
        models.training_rows(ledger, str(HOURLY), [])


def test_the_documented_calls(ledger: Ledger, tmp_path: Path) -> None:
    """register_model, load_model and make_prediction take the documented arguments and give the documented keys."""
    assert issubclass(ModelService, models.ModelService)
    (tmp_path / "my_model.onnx").write_bytes(onnx_line())
    stored(ledger, HOURLY, hours(), Origin.REPLAY)
    model_service = ModelService(models_directory=str(tmp_path))
    registered = model_service.register_model(
        model_name="my_new_model",
        model_type="RandomForest",
        prediction_horizons=[1, 3, 24, 168],
        file_path="/app/trained_models/my_model.onnx",
        feature_config={"features": ["lag_1h", "lag_2h", "SMA_10h", "price_change_1h", "lag_24h"]},
        db=ledger,
    )
    model_data = model_service.load_model("my_new_model", ledger)
    result = model_service.make_prediction(model_name="my_new_model", horizon=24, db=ledger, save_to_db=True)

    assert model_data.row == registered
    assert result.keys() >= DOCUMENTED
    assert ledger.predictions.latest("my_new_model")[0].id == result["prediction_id"]
    with pytest.raises(ValueError, match="Model 'nobody' not found or inactive"):
        model_service.load_model("nobody", ledger)
    with pytest.raises(ValueError, match=r"Supported horizons: \[1, 3, 24, 168\]"):
        model_service.make_prediction("my_new_model", 2, ledger)
    with pytest.raises(FileNotFoundError, match=r"Model file not found: none\.skops"):
        model_service.register_model("other", "x", [1], "none.skops", db=ledger)
    (tmp_path / "my_model.onnx").unlink()
    with pytest.raises(FileNotFoundError):
        ModelService(tmp_path).load_model("my_new_model", ledger)
