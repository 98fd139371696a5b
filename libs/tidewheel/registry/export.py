"""A linear model of ours as a scikit-learn file, for who wants a small model to register and try things with.

Ours reads levels and changes relative to the close and answers a return. With the base features the close is known to
whoever reads prices, for it is the close of an hour ago and the change since: so the same model is linear in prices.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tidewheel.contracts.errors import BadInput, BadModel
from tidewheel.disk import fsync_directory, write_durably
from tidewheel.features.frames import Floats
from tidewheel.features.hourly import BASE
from tidewheel.models.horizons import HorizonModel
from tidewheel.models.linear import LinearModel
from tidewheel.modelstore.limited import run_limited

FILE_NAME = "baseline_model.skops"
EXPORTED = (1, 3)  #: hours; longer horizons read more than the base features
_MODULE = "tidewheel.registry.export"
_LAG, _CHANGE = BASE.index("lag_1h"), BASE.index("price_change_1h")


def in_prices(model: HorizonModel, horizons: Sequence[int]) -> Floats:
    """Weights of the base features in prices, [horizons, 5], that give the model's forecasts; there is no intercept.

    Raises:
        BadInput: a part is no linear model of the base features.
    """
    return np.stack([_part_in_prices(model, horizon) for horizon in horizons])


def _part_in_prices(model: HorizonModel, horizon: int) -> Floats:
    part = model.parts.get(horizon)
    if part is None or part.features != BASE or not isinstance(part.regressor, LinearModel):
        raise BadInput(f"the {model.family} model has no linear part over {horizon} h that reads the base features")
    weights = part.regressor.weights.copy()
    levels = np.array([not name.startswith("price_change") for name in BASE])
    close = 1.0 + part.regressor.intercept - weights[levels].sum()  # a level x enters as x / close - 1
    weights[[_LAG, _CHANGE]] += close
    return weights


def put_file(root: Path, model: HorizonModel) -> Path | None:
    """Put the baseline into the models folder `root`, as a file with an output for each of the horizons `EXPORTED`.

    None: a file that is there stays as it is, for a version may be registered from it; or `model` lacks a horizon.

    Raises:
        OSError: the folder cannot be written.
        BadModel: the child that writes the file did not come to its end.
    """
    path = root / FILE_NAME
    if path.exists() or not set(EXPORTED) <= set(model.horizons):
        return None
    # In a child, for scikit-learn takes 100 MB and the caller goes on for weeks.
    ended = run_limited(_MODULE, given=json.dumps(in_prices(model, EXPORTED).tolist()).encode())
    if not ended.well:
        raise BadModel(f"the writing of {FILE_NAME} {ended.words}")
    try:
        write_durably(path, ended.output)
    except FileExistsError:
        return None
    fsync_directory(root)
    return path


def main() -> int:
    """The child: weights from stdin as JSON, the estimator to stdout as skops."""
    import skops.io
    from sklearn.linear_model import LinearRegression

    weights = np.array(json.load(sys.stdin))
    estimator = LinearRegression(fit_intercept=False)
    estimator.coef_, estimator.intercept_, estimator.n_features_in_ = weights, np.zeros(len(weights)), len(BASE)
    estimator.feature_names_in_ = np.array(BASE, dtype=object)  # so that a feature_config with others is noticed
    sys.stdout.buffer.write(skops.io.dumps(estimator))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
