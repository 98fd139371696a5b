"""What a model must answer to fixed inputs before anybody is served by it, family by family."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadBundle
from tidewheel.features.frames import Floats
from tidewheel.modelstore.loaders import forecasts_hours, horizon_model, regime_model

_BARS = 240
_ROWS = 16


def trial(family: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Load the model in verified files and let it answer; what was seen, JSON values only.

    Raises:
        BadBundle: the family has no loader, the files are structurally wrong, or an answer makes no sense.
    """
    return _forecasts(family, files) if forecasts_hours(family) else _regimes(family, files)


def _regimes(family: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    seen = regime_model(family, files).filter(_returns()).probs
    if not len(seen):
        raise BadBundle(f"the model answered nothing to {_BARS} bars")
    if not np.isfinite(seen).all() or (seen < 0).any():
        raise BadBundle("a probability is negative or not finite")
    if np.abs(seen.sum(axis=1) - 1).max() > 1e-9:
        raise BadBundle("a bar's probabilities do not sum to 1")
    return {"bars": _BARS, "rows": len(seen), "last": [round(p, 6) for p in seen[-1].tolist()]}


def _returns() -> list[float]:
    """Log returns of a quiet stretch, a wild one and one jump; fixed."""
    angles = np.arange(_BARS)
    wave = np.sin(angles * 1.7) + np.sin(angles * 0.9) / 2
    size = np.where(angles < _BARS // 2, 0.0003, 0.003)
    returns = (wave * size).tolist()
    returns[_BARS // 3] = math.log(1.05)
    return [float(value) for value in returns]


def _forecasts(family: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    model = horizon_model(family, files)
    last = {}
    for horizon in model.horizons:
        answers = model.predict(horizon, _relative_rows(len(model.features(horizon))))
        if not np.isfinite(answers).all() or (answers <= -1.0).any():
            raise BadBundle(f"a forecast over {horizon} h is not finite, or a fall to nothing and below")
        last[str(horizon)] = round(float(answers[-1]), 6)
    return {"rows": _ROWS, "last": last}


def _relative_rows(features: int) -> Floats:
    """Relative features of a still hour and of ever wilder ones, up to 2 %; fixed."""
    angles = np.arange(_ROWS * features).reshape(_ROWS, features)
    size = np.linspace(0.0, 0.02, _ROWS)[:, None]
    rows: Floats = size * np.sin(angles * 1.7)
    return rows
