"""Regret and means from a log: the right sign, intervals that hold what they promise, and silence where it is due."""

import numpy as np
import pytest
from scipy.special import ndtri

from services.param_controller.service.review.regret import Regret, regret
from services.param_controller.service.review.reporting import mean_interval
from services.param_controller.service.review.trials import Trial
from tests.services.param_controller.asked import BREAKOUT
from tests.services.param_controller.desk import BTC
from tidewheel.contracts.states import DecisionState, OutcomeKind, PolicyName, Reason
from tidewheel.features.frames import Floats
from tidewheel.ledger.control.records import Decision, Outcome


def trial(number: int, x: float, preset: str, reward: float, propensities: dict[str, float]) -> Trial:
    """A row of a log as a ledger would tell it."""
    decision = Decision(
        id=number, key=BTC, number=number, preset_id=preset, params={}, digest=preset,
        signature=BREAKOUT.context_signature, context=(1.0, x), features_used={}, reason=Reason.EXPLORED,
        propensity=propensities[preset], propensities=propensities, policy=PolicyName.LINTS,
        policy_version="lints-1a2b3c4d", learnt=0, changed=False, state=DecisionState.SETTLED, actor="engine",
        decided_at=number, expires_at=number + 1,
    )  # fmt: skip
    outcome = Outcome(
        decision_id=number, seq=number, kind=OutcomeKind.REPORTED, event_id=None, reward=reward, learnt_reward=reward,
        half_life_ms=None, learnt=True, left_out=None, inferred=False, features=None, actor="engine",
        learnt_at=number, dropped_at=None, dropped_after=None,
    )  # fmt: skip
    return Trial(decision, outcome)


GOOD, BAD = 2.0, 0.5  #: mean rewards of the two presets


def log(rng: np.random.Generator, rows: int, good_share: float) -> list[Trial]:
    """A policy that serves the better preset with that probability; its true regret is (1 - share)·1.5 a decision."""
    propensities = {"good": good_share, "bad": 1.0 - good_share}
    found = []
    for number in range(1, rows + 1):
        preset = "good" if rng.random() < good_share else "bad"
        x = float(rng.normal())
        reward = (GOOD if preset == "good" else BAD) + 0.5 * x + float(rng.normal())
        found.append(trial(number, x, preset, reward, propensities))
    return found


def holds(told: Regret, truth: float) -> bool:
    return told.per_decision is not None and told.per_decision.low <= truth <= told.per_decision.high


def test_regret_is_what_the_best_preset_would_have_earned_more() -> None:
    """A policy that serves the worse preset three times in four loses 1.125 a decision, and that is told as a loss."""
    rows = log(np.random.default_rng(1), 800, good_share=0.25)
    found = regret(rows, ["good", "bad"])

    assert found.against == "good" and found.unsupported == {} and found.per_decision is not None
    assert holds(found, 0.75 * (GOOD - BAD)) and found.per_decision.low > 0.5
    assert not holds(found, -0.75 * (GOOD - BAD))  # what a turned sign would tell
    assert found.per_decision.n == 800


def test_a_policy_that_beats_every_fixed_preset_has_a_negative_regret() -> None:
    """Where each preset is right in half of the contexts, choosing by context earns more than either."""
    rng, rows = np.random.default_rng(2), []
    for number in range(1, 801):
        x = float(rng.choice([-1.0, 1.0]))
        likely = {"up": 0.9 if x > 0 else 0.1, "down": 0.1 if x > 0 else 0.9}
        preset = "up" if rng.random() < likely["up"] else "down"
        reward = (x if preset == "up" else -x) + 0.3 * float(rng.normal())
        rows.append(trial(number, x, preset, reward, likely))
    found = regret(rows, ["up", "down"])

    assert found.per_decision is not None and found.per_decision.high < 0.0
    assert holds(found, -0.8)


def test_regret_intervals_hold_the_truth_as_often_as_they_promise() -> None:
    """Of 100 logs at least 93 hold it; intervals of half their length, planted, do not."""
    rng = np.random.default_rng(3)
    kept = planted = 0
    for _ in range(100):
        found = regret(log(rng, 100, good_share=0.5), ["good", "bad"])
        assert found.per_decision is not None
        truth, told = 0.5 * (GOOD - BAD), found.per_decision
        kept += told.low <= truth <= told.high
        planted += abs(told.value - truth) <= (told.high - told.low) / 2 / 2
    assert kept >= 93
    assert planted < 93


def test_presets_that_nobody_served_are_named_and_not_guessed() -> None:
    """Of a preset without support there is no number, and where there is none at all the regret is not known."""
    rows = log(np.random.default_rng(4), 200, good_share=0.5)
    found = regret(rows, ["good", "bad", "new"])
    assert list(found.unsupported) == ["new"] and found.against == "good"

    alone = regret(rows, ["new"])
    assert alone.per_decision is None and alone.against is None
    assert regret([], ["new"]).per_decision is None and regret([], []).per_decision is None


def test_a_preset_is_judged_by_the_rows_it_could_be_served_in() -> None:
    """A preset that came later is compared with what was served since, and not with the time before it."""
    rng = np.random.default_rng(5)
    before = [
        trial(number, 0.0, "bad", 100.0 + float(rng.normal()), {"bad": 1.0}) for number in range(1, 101)
    ]  # golden days, in which the new one had no part
    since = [
        trial(100 + each.decision.number, each.decision.context[1], each.decision.preset_id, each.outcome.reward,
              dict(each.propensities))
        for each in log(rng, 400, good_share=0.5)
    ]  # fmt: skip
    found = regret(before + since, ["good"])

    assert found.per_decision is not None and found.per_decision.n == 400
    assert holds(found, 0.5 * (GOOD - BAD))


def test_intervals_of_a_mean_hold_it_as_often_as_they_promise() -> None:
    """Of 1,000 small samples 95 % hold it; with the normal law in Student's place, planted, too few do."""
    draws: Floats = np.random.default_rng(6).normal(3.0, 2.0, size=(1_000, 5))
    kept = planted = 0
    for sample in draws:
        found = mean_interval(sample.tolist())
        assert found is not None and found.low is not None and found.high is not None
        kept += found.low <= 3.0 <= found.high
        planted += abs(found.value - 3.0) <= float(ndtri(0.975)) * float(sample.std(ddof=1)) / np.sqrt(5)
    assert 0.93 * 1_000 <= kept <= 0.97 * 1_000
    assert planted < 0.9 * 1_000


def test_a_single_reward_has_a_mean_and_no_interval() -> None:
    """Nothing is told of a spread that nobody saw."""
    assert mean_interval([]) is None
    alone = mean_interval([4.0])
    assert alone is not None and alone.value == pytest.approx(4.0) and (alone.low, alone.n) == (None, 1)
