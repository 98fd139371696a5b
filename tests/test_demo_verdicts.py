"""The verdicts of the demo follow from its data, whatever the seed."""

from collections.abc import Callable

import pytest

from tidewheel.contracts.times import DAY
from tidewheel.contracts.verdicts import Verdict
from tidewheel.features.frames import CandleFrame
from tidewheel.features.returns import regime_signature
from tidewheel.gates.gate import Candidate, Gate
from tidewheel.gates.splits import split
from tidewheel.gates.steps import ChampionStep, EnoughDataStep, SchemaStep
from tidewheel.market.sim.scenario import Scenario, demo
from tidewheel.models.gaussian import GaussianModel
from tidewheel.models.regime import RegimeModel

TRAIN_SEED = 42


def window(scenario: Scenario, phase: int) -> dict[str, CandleFrame]:
    """The ten days that end with `phase`, as the sliding window sees them."""
    end = scenario.ends[phase - 1]
    return {series.symbol: series.frame.between(end - 10 * DAY, end) for series in scenario.series}


def challenge(bars: dict[str, CandleFrame], champion: RegimeModel | None) -> tuple[RegimeModel, Verdict]:
    """Fit on `bars` as the trainer does, and judge against `champion`."""
    parts = split(bars)
    model = RegimeModel.fit(parts.train, seed=TRAIN_SEED, restarts=3, champion=champion)
    signature = regime_signature("1m")
    candidate = Candidate(
        family="hmm",
        model=model,
        payload=model.to_payload(),
        feature_signature=signature,
        champion=champion,
        champion_version="champion" if champion else None,
        baseline=GaussianModel.fit(parts.train),
        holdout=parts.holdout,
        train_bars=parts.train_bars,
        min_train_bars=1_000,
        seed=TRAIN_SEED,
    )
    return model, Gate([SchemaStep(signature), EnoughDataStep(), ChampionStep()]).judge(candidate)


def numbers(verdict: Verdict) -> tuple[float, float]:
    """Mean difference and its 5 % quantile, nats a bar, of the step that compares."""
    found = verdict.steps[-1].numbers
    return found["mean_difference"], found["quantile_05"]


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_demo_promotes_twice_and_refuses_the_shuffled_days(seed: int, report: Callable[[str], None]) -> None:
    """Better than a Gaussian, better than the calm market's champion, and worse once the past tells nothing.

    The same third batch in its own order stands beside it: whatever its verdict, it must lose far less.
    """
    scenario = demo(seed)
    calm, first = challenge(window(scenario, 1), None)
    wild, second = challenge(window(scenario, 2), calm)
    _, third = challenge(window(scenario, 3), wild)
    _, beside = challenge(window(demo(seed, shuffled=False), 3), wild)

    shuffled, ordered = numbers(third)[0], numbers(beside)[0]
    report(
        f"demo seed {seed}: first {numbers(first)[0]:+.4f}, doubled {numbers(second)[0]:+.4f}, "
        f"shuffled {shuffled:+.4f} ({'passed' if third.passed else 'refused'}), "
        f"unshuffled {ordered:+.4f} ({'passed' if beside.passed else 'refused'}) nats a bar"
    )
    assert first.passed
    assert second.passed
    assert not third.passed
    assert third.refusal is not None
    assert third.refusal.step == "champion"
    assert shuffled < -0.05 < ordered
