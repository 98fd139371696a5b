"""What the registry's own models make of real hours."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.recorded.test_markets import bars
from tidewheel.features.frames import CandleFrame
from tidewheel.features.hourly import documented, target, to_hours
from tidewheel.gates.forecasts import (
    ForecastCandidate,
    ForecastChampionStep,
    Forecasts,
    ForecastSchemaStep,
    Persistence,
)
from tidewheel.gates.gate import Gate
from tidewheel.gates.splits import split
from tidewheel.models.conformal import Coverage
from tidewheel.models.horizons import FAMILIES, HORIZONS, HorizonModel

MARKETS = {"UNITTEST_BTC-30m.feather": 960, "EURUSD.csv": 5_000}


@cache
def market(candles: Path, file: str) -> tuple[CandleFrame, int]:
    """The hours of a file, and where the fifth begins that no model sees."""
    (frame,) = bars(candles, file).values()
    hours = to_hours(frame)
    return hours, split({file: hours}).cut


@cache
def fitted(candles: Path, file: str, family: str, horizons: tuple[int, ...] = HORIZONS) -> HorizonModel:
    """Fitted on what comes before the cut."""
    hours, cut = market(candles, file)
    return HorizonModel.fit(hours.between(None, cut), family=family, horizons=horizons, seed=42)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("file", MARKETS)
def test_real_hours_are_forecast_at_each_horizon(
    candles: Path, file: str, family: str, report: Callable[[str], None]
) -> None:
    """Fitted on the first 80 %, all four horizons give finite forecasts on the rest; errors and coverage are told."""
    hours, cut = market(candles, file)
    assert len(hours) == MARKETS[file]
    model = HorizonModel.from_payload(fitted(candles, file, family).to_payload())

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
        reach = model.reach(horizon, hours)
        assert known.any() and np.isfinite(mae) and not np.isnan(reach[known]).any()
        covered = Coverage.of((np.abs(found - came) <= reach)[known])
        assert covered.share is not None and covered.share > 0.8
        part = model.parts[horizon]
        width = 200 * np.mean((reach / hours.close)[known])
        report(
            f"{file} {family} {horizon} h: skill {1 - mae / theirs:+.3f}, coverage {covered.share:.3f} of 0.9 "
            f"over {covered.n}, mean width {width:.2f} %, fitted on {part.fit_rows}, calibrated on "
            f"{part.calibrate_rows}"
        )


@pytest.mark.parametrize("horizons", [HORIZONS, HORIZONS[:3]], ids=["to a week", "to a day"])
@pytest.mark.parametrize("file", MARKETS)
def test_the_forest_is_compared_with_the_baseline(
    candles: Path, file: str, horizons: tuple[int, ...], report: Callable[[str], None]
) -> None:
    """And the baseline with the naive forecast: each verdict tells its number, or how much history it lacks."""
    hours, cut = market(candles, file)
    gate = Gate[ForecastCandidate]([ForecastSchemaStep(), ForecastChampionStep()])
    baseline = fitted(candles, file, "baseline", horizons)
    rivals: dict[str, Forecasts] = {"baseline": Persistence(horizons), "random_forest": baseline}
    for family, opponent in rivals.items():
        model = fitted(candles, file, family, horizons)
        name = "naive" if family == "baseline" else "baseline"
        made = ForecastCandidate(
            family=family, model=model, payload=model.to_payload(), feature_signature=model.signature,
            opponent=opponent, opponent_name=name, replaces=False, hours=hours, cut=cut,
        )  # fmt: skip
        verdict = gate.judge(made)
        last = verdict.steps[-1]
        assert last.step == ForecastChampionStep.name and name in str(last.numbers["opponent"])
        assert last.reason.startswith("no verdict") == ("lower_95" not in last.numbers)
        assert verdict.passed == (last.numbers.get("lower_95", 0.0) > 0.0)
        report(f"{file} {family} to {horizons[-1]} h against {name}: {last.reason}")
        for horizon, told in last.numbers["horizons"].items():
            errors = f"{told['mae']:.5f}, {told['opponent_mae']:.5f} by {name}, {told['naive_mae']:.5f} naive"
            report(f"{file} {family} to {horizons[-1]} h, {horizon} h: error {errors}; coverage {told['coverage']:.3f}")
