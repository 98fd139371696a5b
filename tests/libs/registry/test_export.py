"""Our baseline as a file of scikit-learn."""

from pathlib import Path

import numpy as np
import pytest

from tests.libs.models.test_horizons import reverting
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.states import ModelFormat
from tidewheel.features.hourly import BASE, table
from tidewheel.models.horizons import HorizonModel
from tidewheel.registry.export import EXPORTED, in_prices, put_file
from tidewheel.registry.formats.skops import load
from tidewheel.registry.trial import see


def test_the_file_forecasts_what_the_model_forecasts(tmp_path: Path) -> None:
    """In prices and without an intercept, an output for each horizon; it passes the trial, and is written once."""
    hours = reverting(600)
    model = HorizonModel.fit(hours, family="baseline", seed=42)
    path = put_file(tmp_path, model)
    assert path is not None
    content = path.read_bytes()
    rows = table(hours, BASE, horizon=1, relative=False)[24:]

    found = load(content).predict(rows)

    expected = np.column_stack([model.forecast(horizon, hours)[24:] for horizon in EXPORTED])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    seen = see(ModelFormat.SKOPS, content, len(BASE))
    assert (seen.outputs, seen.names) == (2, BASE)
    assert put_file(tmp_path, model) is None
    assert path.read_bytes() == content


def test_only_a_line_over_the_base_features_can_be_told_so(tmp_path: Path) -> None:
    """A forest, a longer horizon or one that is left out is none."""
    hours = reverting(600)
    forest = HorizonModel.fit(hours, family="random_forest", horizons=(1, 3), seed=42, trees=2)
    line = HorizonModel.fit(hours, family="baseline", horizons=(1, 24), seed=42)
    for model, horizon in ((forest, 1), (line, 24), (line, 3)):
        with pytest.raises(BadInput, match="no linear part"):
            in_prices(model, [horizon])
    assert put_file(tmp_path, line) is None
    assert list(tmp_path.iterdir()) == []
