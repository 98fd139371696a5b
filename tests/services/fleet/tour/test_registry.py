"""What the tour of the registry holds the fleet to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.fleet.display import Lines
from services.fleet.tour.checks import Checks
from services.fleet.tour.registry import market
from services.fleet.tour.registry.checks import hold_against_truth
from tidewheel.contracts.times import HOUR
from tidewheel.market.sim.replay import replayed


def answer(predicted: float, price: float, lower: float | None = None) -> dict[str, Any]:
    upper = None if lower is None else predicted + (predicted - lower)
    return {"predicted_value": predicted, "current_price": price, "interval": {"lower": lower, "upper": upper}}


CAME = [(answer(102.0, 100.0, 100.0), 103.0), (answer(99.0, 101.0, 98.0), 104.0), (answer(105.0, 104.0), 104.0)]
#: Errors 1, 5, 1; naive 3, 3, 0; the first interval held, the second did not.
TRUE = {
    "n": 3, "mae": 7 / 3, "rmse": 3.0, "naive_mae": 2.0, "skill": 1 - 7 / 6, "coverage": 0.5, "coverage_n": 2,
}  # fmt: skip


def test_metrics_that_are_the_sums_pass() -> None:
    """Each number by hand."""
    checks = Checks(Lines())
    hold_against_truth(checks, "of x over 1 h", TRUE, CAME)
    assert (checks.made, checks.violations) == (len(TRUE), [])


@pytest.mark.parametrize("off", [1e-6, None])
@pytest.mark.parametrize("name", TRUE)
def test_a_metric_that_is_off_is_told(name: str, off: float | None) -> None:
    """Any of them, by a millionth, or where it is no number at all."""
    checks = Checks(Lines())
    hold_against_truth(checks, "of x over 1 h", TRUE | {name: off and TRUE[name] + off}, CAME)
    assert len(checks.violations) == 1 and checks.violations[0].startswith(f"{name} of x over 1 h")


def test_a_coverage_of_nothing_is_no_number() -> None:
    """Where no interval was told, zero would be a claim."""
    checks = Checks(Lines())
    alone = {"n": 1, "mae": 1.0, "rmse": 1.0, "naive_mae": 2.0, "skill": 0.5, "coverage": 0.0, "coverage_n": 0}
    hold_against_truth(checks, "of x over 1 h", alone, [(answer(1.0, 2.0), 0.0)])
    assert [each.partition(" ")[0] for each in checks.violations] == ["coverage"]


def test_the_market_is_replayed_as_it_was_written(tmp_path: Path) -> None:
    """The exchange serves the very closes that the tour measures by."""
    close = market.closes(50, seed=3)
    assert np.array_equal(close, market.closes(50, seed=3))

    (series,) = replayed((str(market.write(tmp_path, close)),)).series

    assert (series.symbol, series.timeframe) == (market.SYMBOL, "1h")
    assert np.array_equal(series.frame.close, close)
    assert series.frame.open_time.tolist() == [market.START + hour * HOUR for hour in range(50)]
