"""The errors of the model registry say what its document says, and are what its readers catch."""

import pytest

from tidewheel.contracts.errors import (
    HorizonNotSupported,
    ModelFileNotFound,
    ModelNotFound,
    NoHistoricalData,
    TidewheelError,
)


@pytest.mark.parametrize(
    ("error", "also", "status", "code", "text"),
    [
        (ModelNotFound("rf"), ValueError, 400, "model_not_found", "Model 'rf' not found or inactive"),
        (
            HorizonNotSupported(24, "rf", (1, 3)), ValueError, 400, "horizon_not_supported",
            "Horizon 24h not supported by model 'rf'. Supported horizons: [1, 3]",
        ),
        (
            ModelFileNotFound("/app/trained_models/rf.joblib"), FileNotFoundError, 404, "model_file_not_found",
            "Model file not found: /app/trained_models/rf.joblib",
        ),
        (
            NoHistoricalData("binance:BTC/USDT:1m"), ValueError, 400, "no_historical_data",
            "No historical data available for prediction",
        ),
    ],
)  # fmt: skip
def test_as_documented(error: TidewheelError, also: type[Exception], status: int, code: str, text: str) -> None:
    """Text, HTTP status and Python class are the document's; the code is ours."""
    assert isinstance(error, TidewheelError)
    assert isinstance(error, also)
    assert (error.status, error.code, error.detail, str(error)) == (status, code, text, text)


def test_what_the_sentence_leaves_out() -> None:
    """The document's texts name no stream; the answer does, and lists the horizons for a program."""
    assert NoHistoricalData("binance:BTC/USDT:1m").extra == {"stream": "binance:BTC/USDT:1m"}
    assert HorizonNotSupported(24, "rf", (1, 3)).extra == {"supported_horizons": [1, 3]}
