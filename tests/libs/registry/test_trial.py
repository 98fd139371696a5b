import pytest

from tests.libs.registry.models import FEATURES, forest, onnx_line, rows, skops_bytes, target
from tidewheel.contracts.errors import BadModel
from tidewheel.contracts.states import ModelFormat
from tidewheel.registry.formats.kinds import kind_of
from tidewheel.registry.trial import Seen, see, try_out


def test_a_sound_model_passes_and_tells_what_it_is() -> None:
    """The child answers with features, outputs, size and time."""
    seen = try_out(ModelFormat.ONNX, onnx_line(), FEATURES)

    assert isinstance(seen, Seen)
    assert (seen.features, seen.outputs) == (FEATURES, 1)
    assert seen.nbytes > 100 and seen.milliseconds > 0


def test_a_refusal_comes_back_as_it_was_said() -> None:
    """The child's own sentence reaches the caller; rows are as wide as the file says, whatever was asked for."""
    with pytest.raises(BadModel, match="not a skops file"):
        try_out(ModelFormat.SKOPS, b"no zip", FEATURES)
    assert see(ModelFormat.SKOPS, skops_bytes(forest()), 6).features == FEATURES


def test_a_model_that_answers_no_number_is_refused() -> None:
    """NaN or infinity for finite features is no forecast."""
    from sklearn.linear_model import LinearRegression

    for nothing in (float("nan"), float("inf")):
        line = LinearRegression().fit(rows(), target())
        line.intercept_ = nothing
        with pytest.raises(BadModel, match="answered NaN or infinity"):
            see(ModelFormat.SKOPS, skops_bytes(line), FEATURES)


def test_the_child_is_ended_when_it_takes_too_long_or_too_much() -> None:
    """The parent waits no longer than it says, and the child's greed is the child's."""
    with pytest.raises(BadModel, match=r"within 0\.01 s"):
        try_out(ModelFormat.ONNX, onnx_line(), FEATURES, timeout=0.01)
    with pytest.raises(BadModel, match=r"^the trial of the model (ended with|was ended by)"):
        try_out(ModelFormat.ONNX, onnx_line(), FEATURES, memory_bytes=64 * 1024 * 1024)


def test_the_ending_tells_the_kind() -> None:
    """Known endings in any case; a pickle is told what to do."""
    kinds = {
        "a/b.skops": ModelFormat.SKOPS,
        "a.UBJ": ModelFormat.XGBOOST,
        "a.b.json": ModelFormat.XGBOOST,
        "a.txt": ModelFormat.LIGHTGBM,
    }
    assert {path: kind_of(path) for path in kinds} == kinds
    for path in ("model", "a.skops/model", "skops.exe"):
        with pytest.raises(BadModel, match=r"ends in none of \.skops, \.ubj"):
            kind_of(path)
    with pytest.raises(BadModel, match="a pickle is not opened"):
        kind_of("model.pkl")
    with pytest.raises(BadModel, match="not one file"):
        see(ModelFormat.JOBLIB, b"", 1)
