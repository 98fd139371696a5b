"""Scenario `demo` through the real gate: the verdicts follow from the data."""

from collections.abc import Callable

import pytest

from tests.libs.gates.candidates import GATE, candidate
from tidewheel.features.frames import CandleFrame
from tidewheel.market.sim.scenario import Scenario, demo


def window(scenario: Scenario, phase: int) -> dict[str, CandleFrame]:
    edges = [scenario.start, *scenario.phase_ends()]
    return {
        f"binance:{series.symbol}:1m": series.frame.between(edges[phase], edges[phase + 1])
        for series in scenario.series
    }


@pytest.mark.parametrize("seed", range(1, 6))
def test_promote_promote_refuse(seed: int, report: Callable[[str], None]) -> None:
    """Two promotions, then a refusal by the champion step; in order, the third batch is not that much worse."""
    first, made = candidate(window(demo(seed), 0))
    assert GATE.judge(made).passed

    second, made = candidate(window(demo(seed), 1), first)
    assert GATE.judge(made).passed

    _, made = candidate(window(demo(seed), 2), second)
    shuffled = GATE.judge(made)
    _, made = candidate(window(demo(seed, shuffled=False), 2), second)
    unshuffled = GATE.judge(made)

    assert shuffled.refusal is not None and shuffled.refusal.step == "champion"
    numbers, control = shuffled.refusal.numbers, unshuffled.steps[-1].numbers
    report(
        f"demo seed {seed}: third batch shuffled {numbers['mean_difference']:+.4f} nats a bar, "
        f"unshuffled {control['mean_difference']:+.4f}"
    )
    assert numbers["mean_difference"] < -0.05
    assert control["mean_difference"] > -0.02
