"""The comparison of forecasters: scores, blocks, refusals, and that chance alone seldom wins."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.libs.gates.rivals import pass_rate
from tests.libs.models.worlds import candles
from tidewheel.contracts.times import HOUR
from tidewheel.contracts.verdicts import StepResult
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.hourly import target
from tidewheel.gates.forecasts import (
    ForecastCandidate,
    ForecastChampionStep,
    ForecastSchemaStep,
    Persistence,
)
from tidewheel.gates.gate import Gate
from tidewheel.gates.splits import split
from tidewheel.models.horizons import HorizonModel

STEP = ForecastChampionStep()
GATE: Gate[ForecastCandidate] = Gate([ForecastSchemaStep(), STEP])


def market(bars: int = 1_500, pull: float = 0.9, seed: int = 1) -> CandleFrame:
    """Hours whose price comes back, or with a pull of 0 a random walk, which nobody can forecast."""
    noise, level = 0.01 * np.random.default_rng(seed).standard_normal(bars), np.zeros(bars)
    for bar in range(1, bars):
        level[bar] = (1 - pull) * level[bar - 1] + noise[bar]
    return candles(np.diff(level), start=500_000 * HOUR, step=HOUR)


@dataclass(frozen=True)
class Clairvoyant:
    """Knows what comes, up to an error of its own."""

    horizons: tuple[int, ...]
    error: float  #: relative to the price
    seed: int = 0

    def forecast(self, horizon: int, hours: CandleFrame) -> Floats:
        noise = self.error * np.random.default_rng([self.seed, horizon]).standard_normal(len(hours))
        return target(hours, horizon, relative=False) + noise * hours.close


def candidate(hours: CandleFrame, horizons: tuple[int, ...] = (1, 3, 24), **changes: Any) -> ForecastCandidate:
    """A line fitted on the first 80 % of `hours`, against the naive forecast on the rest."""
    cut = split({"": hours}).cut
    model = HorizonModel.fit(hours.between(None, cut), family="baseline", horizons=horizons, seed=1)
    values: dict[str, Any] = {
        "family": "baseline",
        "model": model,
        "payload": model.to_payload(),
        "feature_signature": model.signature,
        "opponent": Persistence(horizons),
        "opponent_name": "naive",
        "replaces": False,
        "hours": hours,
        "cut": cut,
    }
    return ForecastCandidate(**(values | changes))


@pytest.fixture(scope="module")
def good() -> ForecastCandidate:
    return candidate(market())


def judged(made: ForecastCandidate, **changes: Any) -> StepResult:
    return STEP(replace(made, **changes))


def test_a_model_that_learnt_beats_the_naive_forecast(good: ForecastCandidate) -> None:
    """The numbers are those of the errors by hand: mean difference, means by horizon, coverage."""
    verdict = GATE.judge(good)

    assert verdict.passed and [step.step for step in verdict.steps] == ["schema", "forecast_champion"]
    numbers = verdict.steps[-1].numbers
    errors: dict[int, tuple[Floats, Floats]] = {}
    for horizon in (1, 3, 24):
        came = target(good.hours, horizon, relative=False)
        both = (good.model.forecast(horizon, good.hours), good.hours.close)
        ours, naive = (np.abs(each - came)[1_200 : 1_500 - 24] / good.hours.close[1_200 : 1_500 - 24] for each in both)
        errors[horizon] = ours, naive
        told = numbers["horizons"][str(horizon)]
        assert told["mae"] == pytest.approx(ours.mean()) and told["naive_mae"] == pytest.approx(naive.mean())
        assert told["opponent_mae"] == told["naive_mae"]
        assert told["skill"] == pytest.approx(1 - ours.mean() / naive.mean())
        reach = (good.model.reach(horizon, good.hours) / good.hours.close)[1_200 : 1_500 - 24]
        assert told["coverage"] == pytest.approx(float((ours <= reach).mean()))
    skill = np.mean([1 - ours.mean() / naive.mean() for ours, naive in errors.values()])
    assert numbers["mean_difference"] == pytest.approx(skill)
    assert 0 < numbers["lower_95"] < numbers["mean_difference"]
    assert (numbers["n"], numbers["blocks"], numbers["block_hours"]) == (276, 5, 48)


def test_an_hour_weighs_like_a_week(good: ForecastCandidate) -> None:
    """Nearly right a day ahead does not pay for twice the naive error an hour ahead."""

    @dataclass(frozen=True)
    class Lopsided(Persistence):
        def forecast(self, horizon: int, hours: CandleFrame) -> Floats:
            came = target(hours, horizon, relative=False)
            return came + (0.5 if horizon == 24 else -2.0) * (came - hours.close)

    found = judged(good, opponent=Lopsided((1, 24)), opponent_name="lopsided")

    told = found.numbers["horizons"]
    assert told["24"]["opponent_mae"] == pytest.approx(0.5 * told["24"]["naive_mae"])
    assert told["1"]["opponent_mae"] == pytest.approx(2.0 * told["1"]["naive_mae"])
    skills = np.mean([told[horizon]["skill"] for horizon in ("1", "24")])
    assert found.numbers["mean_difference"] == pytest.approx(skills - (0.5 - 1.0) / 2)


def test_no_model_beats_itself_or_a_better_one(good: ForecastCandidate) -> None:
    """Against itself the difference is zero, and that is not above zero; a clairvoyant is better."""
    itself = judged(good, opponent=good.model, opponent_name="baseline v1")
    better = judged(good, opponent=Clairvoyant((1, 3, 24), 0.001), opponent_name="clairvoyant")

    assert not itself.passed and itself.numbers["mean_difference"] == itself.numbers["lower_95"] == 0.0
    assert itself.reason.startswith("not surely better than baseline v1: +0.0000 of the naive error")
    assert not better.passed and better.numbers["mean_difference"] < -0.3


def test_only_hours_from_the_cut_on_are_compared(good: ForecastCandidate) -> None:
    """Perfection before the cut counts for nothing, and base times without an outcome are left out."""

    @dataclass(frozen=True)
    class Hindsight(Persistence):
        def forecast(self, horizon: int, hours: CandleFrame) -> Floats:
            came = target(hours, horizon, relative=False)
            return np.where(hours.open_time < good.cut, came, hours.close)

    assert judged(good, opponent=Hindsight((1, 3, 24))) == judged(good)
    assert judged(good, hours=good.hours.take(slice(0, -100))).numbers["n"] == 176


def test_both_must_know_a_base_time(good: ForecastCandidate) -> None:
    """Where one side has no forecast for one of the horizons, the base time counts for neither."""

    @dataclass(frozen=True)
    class Halting(Persistence):
        def forecast(self, horizon: int, hours: CandleFrame) -> Floats:
            return np.where(hours.open_time // HOUR % 2 == (horizon == 3), hours.close, np.nan)

    assert judged(good, opponent=Halting((1, 24))).numbers["n"] == 138
    never = judged(good, opponent=Halting((1, 3)))
    assert not never.passed and never.numbers["n"] == 0 and never.numbers["horizons"] == {}
    assert "0 base times can be compared, in 0 blocks of 6 h; 4 are needed, 24 h more" in never.reason


def test_too_few_blocks_give_no_verdict(good: ForecastCandidate) -> None:
    """Three stretches of two days and a part are three blocks: no verdict, and what is missing in hours."""
    for bars, blocks in ((5 * 48 - 1, 4), (4 * 48, 4), (4 * 48 - 1, 3), (48, 1), (47, 0)):
        found = judged(good, hours=good.hours.take(slice(0, 1_200 + bars + 24)))
        assert found.numbers["n"] == bars and found.numbers["blocks"] == blocks
        if blocks < 4:
            assert not found.passed and "lower_95" not in found.numbers
            assert f"no verdict: from 2027-03-06T08:00:00Z on {bars} base times can be compared" in found.reason
            assert found.reason.endswith(f"{(4 - blocks) * 48} h more")


def test_a_hole_makes_no_blocks(good: ForecastCandidate) -> None:
    """A stretch without a base time is no block: a week of outage leaves as many fewer."""
    outage = (good.hours.open_time >= good.cut + 48 * HOUR) & (good.hours.open_time < good.cut + 9 * 24 * HOUR)

    found = judged(good, hours=good.hours.take(~outage))

    assert not found.passed and found.numbers["blocks"] < 4


def test_nobody_may_lose_a_horizon(good: ForecastCandidate) -> None:
    """The champion's place is not taken by a model that forecasts less; against another name only shared ones count."""
    wider = Persistence((1, 3, 24, 168))
    refused = judged(good, opponent=wider, opponent_name="random_forest v1", replaces=True)

    assert refused.reason == "random_forest v1 forecasts [168] h too, which the challenger does not"
    assert judged(good, opponent=wider).passed
    assert judged(good, opponent=Persistence((1,)), replaces=True).passed
    assert judged(good, opponent=Persistence((5,))).reason == "naive has none of its horizons"


def test_a_market_that_stands_still_gives_no_verdict(good: ForecastCandidate) -> None:
    """Without any move the naive forecast has no error to measure by."""
    bars = np.array(good.hours.rows())
    bars[1_200:, 1:5] = 100.0
    found = judged(good, hours=CandleFrame.from_rows(HOUR, bars))

    assert not found.passed and found.reason == "the price stands still over [1, 3, 24] h: nothing to compare"


def test_files_and_signature_must_be_the_models(good: ForecastCandidate) -> None:
    """Damaged files, another model's, and another meaning of the features are refused before any score."""
    other = candidate(market(seed=2))
    cases: dict[str, dict[str, Any]] = {
        "the files hold another model than the one that was fitted": {"payload": other.payload},
        "the model's files are []; model.json of baseline, random_forest is not among them": {"payload": {}},
        f"feature signature 000000000000, served is {good.model.signature[:12]}": {"feature_signature": "0" * 64},
    }
    for reason, change in cases.items():
        verdict = GATE.judge(replace(good, **change))
        assert verdict.refusal is not None and (verdict.refusal.step, verdict.refusal.reason) == ("schema", reason)


@pytest.mark.parametrize("days", [8, 10, 20])
def test_equal_rivals_seldom_win(days: int) -> None:
    """Of 800 pairs of equal skill on random walks about one in twenty passes; blocks of one horizon let one in nine."""
    assert 0.02 <= pass_rate(days, (24,), (0.03, 0.03), walks=800) <= 0.075


def test_a_better_rival_wins_with_time() -> None:
    """Ten per cent of skill are found in two months mostly, and never where they are the opponent's."""
    assert pass_rate(60, (1, 3, 24), (0.1, 0.0), walks=50) > 0.9
    assert pass_rate(60, (1, 3, 24), (0.0, 0.1), walks=50) == 0.0
