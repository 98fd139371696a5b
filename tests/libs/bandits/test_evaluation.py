"""Off-policy evaluation: numbers by hand, what is no support, what is refused. Coverage is the proof `bandits`."""

from dataclasses import replace

import numpy as np
import pytest

from tidewheel.bandits.evaluation import Log, always, evaluate
from tidewheel.contracts.errors import BadInput


def log(rows: int = 400, seed: int = 1) -> Log:
    """Three presets that pay 0, 1 and 2, served with 0.5, 0.3 and 0.2."""
    rng = np.random.default_rng(seed)
    chance = np.array([0.5, 0.3, 0.2])
    preset = rng.choice(3, size=rows, p=chance)
    x = np.column_stack([np.ones(rows), rng.normal(size=rows)])
    return Log(x, preset, preset + x[:, 1] + rng.normal(size=rows), chance[preset], presets=3)


def test_weights_by_hand() -> None:
    """IPS is the mean of reward/propensity where the target matches, SNIPS the same over the mean weight."""
    made = log()
    matches = made.preset == 2

    found = evaluate(made, always(2, made))

    assert found.ips is not None and found.snips is not None and found.dr is not None
    assert found.ips.value == pytest.approx((matches * made.reward / 0.2).mean())
    assert found.snips.value == pytest.approx(made.reward[matches].mean())
    assert found.ips.ess == pytest.approx(matches.sum())
    assert (found.rows, found.share, found.ips.n, found.reason) == (400, 1.0, 400, None)
    assert found.ips.low < 2.0 < found.ips.high and found.dr.low < 2.0 < found.dr.high


def test_the_logged_policy_earns_what_it_earned() -> None:
    """The target that served is worth its mean reward, with the interval of a plain mean."""
    made = log()

    found = evaluate(made, np.tile([0.5, 0.3, 0.2], (400, 1)))

    assert found.ips is not None and found.snips is not None
    assert found.ips.value == found.snips.value == pytest.approx(made.reward.mean())
    assert found.ips.ess == pytest.approx(400)


def test_more_than_was_served_is_told_row_by_row() -> None:
    """Over the log a target tells its gain, compared row by row; the log gains nothing on itself."""
    made = log(1_000)
    best, itself = always(2, made), np.tile([0.5, 0.3, 0.2], (1_000, 1))

    gain, alone = evaluate(made, best, over_log=True), evaluate(made, best)
    for told, of in ((gain.ips, alone.ips), (gain.snips, alone.snips), (gain.dr, alone.dr)):
        assert told is not None and of is not None
        assert told.value == pytest.approx(of.value - made.reward.mean())
    assert gain.dr is not None and gain.dr.low < 2.0 - 0.7 < gain.dr.high

    nothing = evaluate(made, itself, over_log=True)
    assert nothing.ips is not None and (nothing.ips.low, nothing.ips.high) == (0.0, 0.0)


def test_a_model_that_fits_narrows_the_interval() -> None:
    """Doubly robust explains the context's part of the reward, which the weights alone leave as noise."""
    made = log(2_000)

    found = evaluate(made, always(2, made))

    assert found.ips is not None and found.dr is not None
    assert found.dr.high - found.dr.low < 0.7 * (found.ips.high - found.ips.low)


def test_either_half_of_doubly_robust_is_enough() -> None:
    """With propensities that lie, rewards that are linear in context save it, and IPS is lost."""
    made = log(4_000)
    lied = replace(made, propensity=np.clip(made.propensity * np.exp(0.4 * made.x[:, 1]), 0.05, 0.95))

    found = evaluate(lied, always(2, lied))

    assert found.ips is not None and found.dr is not None
    assert found.dr.low < 2.0 < found.dr.high
    assert not found.ips.low < 2.0 < found.ips.high


def test_rows_without_a_chance_are_left_out() -> None:
    """Decisions that were held say nothing of other presets; the share tells how many are left."""
    made = log()
    held = np.arange(400) < 100
    preset = np.where(held, 0, made.preset)
    half = replace(made, preset=preset, propensity=np.where(held, 1.0, made.propensity))

    other, same = evaluate(half, always(2, half)), evaluate(half, always(0, half))

    assert other.share == 0.75 and other.ips is not None and other.ips.n == 300
    assert same.share == 1.0


def test_no_support_is_said_and_no_number_given() -> None:
    """A preset never served, one of too few rows, an empty log, and one whose chances lie in one kind of context."""
    made = log()
    rare = replace(made, preset=np.where(np.arange(400) < 5, 2, made.preset % 2))
    sided = replace(made, preset=np.where(made.x[:, 1] > 0, made.preset, 0))
    empty = Log(np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), presets=3)
    never = replace(made, preset=made.preset % 2)
    told = [
        ("in no row", evaluate(never, always(2, never))),
        ("tell as much of it as 4.3", evaluate(rare, always(2, rare))),
        ("real chance in only about", evaluate(sided, always(2, sided))),
        ("in no row", evaluate(empty, always(1, empty))),
    ]

    for reason, found in told:
        assert not found.supported and reason in str(found.reason)
        assert (found.ips, found.snips, found.dr) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"propensity": np.zeros(400)}, r"propensity 0.0, not within"),
        ({"propensity": np.full(400, np.nan)}, "propensity nan"),
        ({"reward": np.full(400, np.inf)}, "not finite"),
        ({"reward": np.zeros(3)}, "3 rewards"),
        ({"presets": 2}, "names one beyond"),
    ],
)
def test_a_log_that_cannot_be_is_refused(change: dict[str, object], why: str) -> None:
    """A propensity of 0 or a number that is none is named before anything is told of it."""
    with pytest.raises(BadInput, match=why):
        replace(log(), **change)  # type: ignore[arg-type]


def test_a_target_that_is_no_distribution_is_refused() -> None:
    """Rows sum to 1 over the log's presets."""
    made = log()

    with pytest.raises(BadInput, match="no distribution"):
        evaluate(made, 2.0 * always(1, made))
    with pytest.raises(BadInput, match="no distribution"):
        evaluate(made, always(1, made)[:, :2])
    with pytest.raises(BadInput, match=r"confidence = 1\.5"):
        evaluate(made, always(1, made), confidence=1.5)
