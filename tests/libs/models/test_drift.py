"""Population stability index."""

import math

import numpy as np
import pytest

from tests.libs.models.worlds import candles
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import HOUR
from tidewheel.features.hourly import table
from tidewheel.models.drift import Drift, Reference
from tidewheel.registry.drifting import overlap

RAMP = np.arange(1.0, 1_001.0)


def test_bins_are_the_deciles() -> None:
    """A thousand different values lie a hundred to a bin; an edge belongs to the bin below."""
    found = Reference.of(RAMP)
    assert found.edges == tuple(np.arange(100.0, 1_000.0, 100.0)) and found.counts == (100,) * 10


def test_psi_is_the_hand_computed_one() -> None:
    """Of 110 samples 100 in the lowest bin and 10 in the highest: shares with one added to each of ten bins."""
    samples = np.concatenate([np.full(100, 0.5), np.full(10, 2_000.0)])
    p = 101 / 1_010
    low, high, empty = 101 / 120, 11 / 120, 1 / 120
    by_hand = sum(times * (q - p) * math.log(q / p) for q, times in ((low, 1), (high, 1), (empty, 8)))

    found = Reference.of(RAMP).drift(samples)

    assert found.psi == pytest.approx(by_hand, rel=1e-12) and found.n == 110
    assert found.noise == pytest.approx(9 * (1 / 110 + 1 / 1_000))


def test_same_shares_have_no_drift() -> None:
    """The reference against itself is exactly zero."""
    assert Reference.of(RAMP).drift(RAMP).psi == 0.0


def test_below_a_hundred_samples_nothing_is_claimed() -> None:
    """99 samples give no PSI, only their number; 100 give one."""
    reference = Reference.of(RAMP)
    assert reference.drift(RAMP[:99]) == Drift(None, 99, 9 * (1 / 99 + 1 / 1_000))
    assert reference.drift(np.zeros(0)).psi is None
    assert reference.drift(RAMP[:100]).psi is not None


def test_a_shift_shows_and_chance_does_not() -> None:
    """300 draws of the same law stay about `noise`, 300 draws shifted by a sigma are far beyond it."""
    rng = np.random.default_rng(3)
    reference = Reference.of(rng.standard_normal(2_000))
    same = [reference.drift(rng.standard_normal(300)) for _ in range(200)]
    moved = reference.drift(rng.standard_normal(300) + 1.0)

    psis = [found.psi for found in same if found.psi is not None]
    assert len(psis) == 200
    assert np.mean(psis) == pytest.approx(same[0].noise, rel=0.25)
    assert moved.psi is not None and moved.psi > 10 * same[0].noise


def test_repeating_values_have_fewer_bins() -> None:
    """A feature that hardly moves has as many bins as values, one that never moves a single one without drift."""
    two = Reference.of(np.repeat([0.0, 1.0], 500))
    assert two == Reference((0.0,), (500, 500))
    by_hand = (501 / 502 - 0.5) * math.log(501 / 251) + (1 / 502 - 0.5) * math.log(1 / 251)
    assert two.drift(np.ones(500)).psi == pytest.approx(by_hand)
    still = Reference.of(np.full(300, 7.0))
    assert still == Reference((), (300,)) and still.drift(np.full(100, 9.0)).psi == 0.0


def test_missing_values_are_refused() -> None:
    """NaN has no bin, neither in the reference nor later."""
    with pytest.raises(BadInput, match="finite values"):
        Reference.of(np.array([1.0, math.nan]))
    with pytest.raises(BadInput, match="finite values"):
        Reference.of(RAMP).drift(np.full(100, math.inf))
    with pytest.raises(BadInput, match="at least one value"):
        Reference.of(np.zeros(0))


def test_a_word_beside_the_number() -> None:
    """Drifted is above a quarter and above three times the noise, which grows with the overlap; ordinary else."""
    cases = [(0.24, 0.01, "ordinary"), (0.26, 0.01, "drifted"), (0.26, 0.09, "ordinary"), (0.3, 0.09, "drifted")]
    assert [Drift(psi, 100, noise).judgement for psi, noise, _ in cases] == [word for *_, word in cases]
    assert Drift(None, 99, 0.1).judgement is None
    assert Reference.of(RAMP).drift(RAMP, overlap=6.0).noise == pytest.approx(6 * Reference.of(RAMP).drift(RAMP).noise)


@pytest.mark.parametrize("name", ["lag_1h", "lag_24h", "lag_168h"])
def test_a_market_that_goes_on_is_ordinary(name: str) -> None:
    """On 60 random walks few inputs are called drifted, however slow; taken as independent most slow ones would be."""
    words: list[tuple[str | None, str | None]] = []
    for seed in range(60):
        moves = 0.005 * np.random.default_rng(seed).standard_normal(2_300)
        rows = table(candles(moves, start=500_000 * HOUR, step=HOUR), [name], horizon=1, relative=True)[200:, 0]
        reference, later = Reference.of(rows[:2_000]), rows[2_000:]
        words.append((reference.drift(later, overlap(name)).judgement, reference.drift(later).judgement))

    assert sum(ours == "drifted" for ours, _ in words) <= 6
    assert sum(naive == "drifted" for _, naive in words) >= (40 if name != "lag_1h" else 0)


def test_wilder_hours_are_drift() -> None:
    """A hundred hours of twice the volatility are called so by what looks back an hour."""
    moves = 0.005 * np.random.default_rng(1).standard_normal(2_300)
    moves[2_190:] *= 2
    rows = table(candles(moves, start=500_000 * HOUR, step=HOUR), ["lag_1h"], horizon=1, relative=True)[1:, 0]
    assert Reference.of(rows[:2_190]).drift(rows[2_190:], overlap("lag_1h")).judgement == "drifted"
