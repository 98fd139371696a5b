"""Columns that a file names: swapped ones are the error that nobody sees, for the numbers stay plausible."""

from pathlib import Path

import numpy as np
import pytest

from tests.libs.registry.models import FEATURES, rows, skops_bytes, target
from tidewheel.contracts.errors import BadInput, BadModel
from tidewheel.contracts.states import ModelFormat
from tidewheel.features.hourly import BASE
from tidewheel.ledger.registry.records import NewModel
from tidewheel.registry.config import FeatureConfig
from tidewheel.registry.files import TrainedModels
from tidewheel.registry.formats.regressor import names_of
from tidewheel.registry.registration import Registration, new_model, tells_features
from tidewheel.registry.trial import Seen, see

SWAPPED = ("lag_2h", "lag_1h", "lag_24h", "SMA_10h", "price_change_1h")


def lightgbm_bytes(names: tuple[str, ...] | None) -> bytes:
    import lightgbm

    data = lightgbm.Dataset(rows(), target(), feature_name="auto" if names is None else list(names))
    booster = lightgbm.train({"verbosity": -1, "num_threads": 1, "num_leaves": 4}, data, 2)
    return str(booster.model_to_string()).encode()


def xgboost_bytes(names: tuple[str, ...] | None) -> bytes:
    import xgboost

    data = xgboost.DMatrix(rows(), target(), feature_names=names, nthread=1)
    return bytes(xgboost.train({"nthread": 1}, data, 2).save_raw("json"))


def scikit_learn_bytes(names: tuple[str, ...] | None, *, steps: bool = False) -> bytes:
    """As a fit on a data frame leaves it: scikit-learn keeps the columns' names in this attribute."""
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    first = StandardScaler() if steps else LinearRegression()
    estimator = make_pipeline(first, LinearRegression()) if steps else first
    estimator.fit(rows(), target())
    if names is not None:
        first.feature_names_in_ = np.array(names, dtype=object)
    return skops_bytes(estimator)


def test_every_format_tells_its_names() -> None:
    """Names that somebody gave, in their order; what a library counted is no name, and the answers stay the same."""
    told = {
        (ModelFormat.LIGHTGBM, lightgbm_bytes(SWAPPED)): SWAPPED,
        (ModelFormat.LIGHTGBM, lightgbm_bytes(None)): None,
        (ModelFormat.XGBOOST, xgboost_bytes(SWAPPED)): SWAPPED,
        (ModelFormat.XGBOOST, xgboost_bytes(None)): None,
        (ModelFormat.SKOPS, scikit_learn_bytes(SWAPPED)): SWAPPED,
        (ModelFormat.SKOPS, scikit_learn_bytes(SWAPPED, steps=True)): SWAPPED,
        (ModelFormat.SKOPS, scikit_learn_bytes(None)): None,
    }
    for (kind, content), names in told.items():
        assert see(kind, content, FEATURES).names == names, kind


def test_counted_columns_have_no_names() -> None:
    """From nought, in order, with a library's own word before: anything else was meant."""
    for counted in (["f0", "f1"], ["Column_0", "Column_1"], ["x0", "x1"], ["0", "1"], ["feature_0", "feature_1"], []):
        assert names_of(counted, 2) is None
    for given in (["f1", "f0"], ["f1", "f2"], ["lag_1h", "f1"]):
        assert names_of(given, 2) == tuple(given)
    for odd in (["a"], ["a", 1], ["a", "b", "c"]):
        with pytest.raises(BadModel, match=r"names \d columns, not each of its 2"):
            names_of(odd, 2)


def test_other_names_do_not_fit() -> None:
    """At any horizon: another order, other names, fewer of them; both lists are told. Without names nothing is said."""
    config = FeatureConfig.parse({"features": {"1": list(BASE), "3": list(SWAPPED)}}, (1, 3))

    def seen(names: tuple[str, ...] | None, outputs: int = 2) -> Seen:
        return Seen(features=5, outputs=outputs, names=names, nbytes=1, milliseconds=0.0)

    config.require_fit(seen(None))
    FeatureConfig.parse(None, (1, 3)).require_fit(seen(BASE, 1))
    for names, hours in ((SWAPPED, 1), (BASE, 3), (("a", "b", "c", "d", "e"), 1)):
        with pytest.raises(BadInput) as refused:
            config.require_fit(seen(names))
        assert refused.value.code == "feature_mismatch"
        assert f"columns are {', '.join(names)}, and feature_config" in refused.value.detail
        assert f"names {', '.join(config.features[hours])} at {hours} h" in refused.value.detail


def registered(root: Path, content: bytes) -> tuple[NewModel, list[str]]:
    (root / "mine.txt").write_bytes(content)
    said = Registration(model_name="mine", model_type="Boosted", prediction_horizons=[24], file_path="mine.txt")
    return new_model(TrainedModels(root), lambda _: None, said, now=0)


def test_names_of_ours_stand_for_a_config_that_was_not_sent(tmp_path: Path) -> None:
    """The file's own list is taken, and the answer says so."""
    new, warnings = registered(tmp_path, lightgbm_bytes(SWAPPED))

    assert new.feature_config == {"features": list(SWAPPED)}
    assert warnings == [
        "feature_config was not sent; mine.txt names its columns, and they are taken, in prices: " + ", ".join(SWAPPED)
    ]


def test_names_of_nobody_are_refused_where_nothing_is_sent(tmp_path: Path) -> None:
    """The base features are not what such a file was trained on; the base features by name are, and say no more."""
    with pytest.raises(BadInput, match=r"columns are a, b, c, d, e, .* \(by default the base features\) names lag_1h"):
        registered(tmp_path, lightgbm_bytes(("a", "b", "c", "d", "e")))
    assert [tells_features(names) for names in (BASE, SWAPPED, ("lag_1h", "a"), ("lag_1h", "lag_1h"), None)] == [
        False, True, False, False, False,
    ]  # fmt: skip
