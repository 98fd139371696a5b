"""Which format a path promises, by its ending, and the format's own check and loader, imported when first needed."""

import importlib
from typing import Protocol, cast

from tidewheel.contracts.errors import BadModel
from tidewheel.contracts.states import ModelFormat
from tidewheel.registry.formats.regressor import Regressor

_ENDINGS = {
    "skops": ModelFormat.SKOPS,
    "ubj": ModelFormat.XGBOOST,
    "json": ModelFormat.XGBOOST,
    "txt": ModelFormat.LIGHTGBM,
    "onnx": ModelFormat.ONNX,
    "joblib": ModelFormat.JOBLIB,
}
_PICKLES = ("pkl", "pickle", "pt", "pth", "bin")
_LOADED = (ModelFormat.SKOPS, ModelFormat.XGBOOST, ModelFormat.LIGHTGBM, ModelFormat.ONNX)


class _Format(Protocol):
    def check(self, content: bytes) -> None: ...

    def load(self, content: bytes) -> Regressor: ...


def kind_of(relative: str) -> ModelFormat:
    """The format that a model file's name promises.

    Raises:
        BadModel: there is no such ending.
    """
    ending = relative.rpartition("/")[2].rpartition(".")[2].lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    pickled = "; a pickle is not opened, convert it to one of these" if ending in _PICKLES else ""
    raise BadModel(
        f"{relative} ends in none of {', '.join(f'.{known}' for known in _ENDINGS)}, "
        f"and is no folder with a manifest.json{pickled}"
    )


def check(kind: ModelFormat, content: bytes) -> None:
    """Refuse content that is not soundly of its kind.

    Raises:
        BadModel: says why.
    """
    _format(kind).check(content)


def load(kind: ModelFormat, content: bytes) -> Regressor:
    """The model in memory; only for bytes that the trial survived (`trial.try_out`).

    Raises:
        BadModel: says why not.
    """
    return _format(kind).load(content)


def _format(kind: ModelFormat) -> _Format:
    if kind not in _LOADED:
        raise BadModel(f"a model of kind {kind} is not one file that can be loaded")
    return cast(_Format, importlib.import_module(f"tidewheel.registry.formats.{kind}"))
