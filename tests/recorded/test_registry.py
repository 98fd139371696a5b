"""What the registry's own models make of real hours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.recorded.test_markets import bars
from tidewheel.features.hourly import documented, target, to_hours
from tidewheel.gates.forecasts import Persistence
from tidewheel.gates.splits import split
from tidewheel.models.conformal import Coverage
from tidewheel.models.horizons import FAMILIES, HORIZONS, HorizonModel

MARKETS = {"UNITTEST_BTC-30m.feather": 960, "EURUSD.csv": 5_000}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("file", MARKETS)
def test_real_hours_are_forecast_at_each_horizon(
    candles: Path, file: str, family: str, report: Callable[[str], None]
) -> None:
    """Fitted on the first 80 %, all four horizons give finite forecasts on the rest; errors and coverage are told."""
    (frame,) = bars(candles, file).values()
    hours = to_hours(frame)
    assert len(hours) == MARKETS[file]
    cut = split({file: hours}).cut

    fitted = HorizonModel.fit(hours.between(None, cut), family=family, seed=42)
    model = HorizonModel.from_payload(fitted.to_payload())

    assert model.horizons == HORIZONS and not model.left_out
    assert sum(map(len, model.to_payload().values())) < 5_000_000
    closed_weekends = file == "EURUSD.csv"
    assert ("SMA_168h" in model.features(168)) is not closed_weekends
    assert model.features(24) == documented(24)
    naive = Persistence(HORIZONS)
    for horizon in HORIZONS:
        found, came = model.forecast(horizon, hours), target(hours, horizon, relative=False)
        known = (hours.open_time >= cut) & ~np.isnan(found) & ~np.isnan(came)
        mae, theirs = (np.abs(each - came)[known].mean() for each in (found, naive.forecast(horizon, hours)))
        width = model.band(horizon).half_width
        assert width is not None and known.any() and np.isfinite(mae)
        covered = Coverage.of((np.abs(found - came) <= width * hours.close)[known])
        assert covered.share is not None and covered.share > 0.5
        part = model.parts[horizon]
        report(
            f"{file} {family} {horizon} h: skill {1 - mae / theirs:+.3f}, coverage {covered.share:.3f} of 0.9 "
            f"over {covered.n}, fitted on {part.fit_rows}, calibrated on {part.calibrate_rows}"
        )
