"""The probability of the highest score, against its definition."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm

from tidewheel.bandits.best_of import probability_of_best


def by_definition(means: np.ndarray, deviations: np.ndarray, index: int) -> float:
    """∫ φ(z) Π P(score b < mean + deviation·z) dz, adaptively, piece by piece."""
    mean, deviation = means[index], deviations[index]
    others = [place for place in range(len(means)) if place != index]
    cuts = [mean + deviation * np.linspace(-9, 9, 19)]
    cuts += [means[b] + deviations[b] * np.linspace(-9, 9, 19) for b in others if deviations[b]]
    cuts += [means[[b]] for b in others if not deviations[b]]
    points = np.unique(np.clip((np.concatenate(cuts) - mean) / deviation, -9, 9))

    def density(z: float) -> float:
        score = mean + deviation * z
        below = [ndtr((score - means[b]) / deviations[b]) if deviations[b] else float(score > means[b]) for b in others]
        return float(norm.pdf(z) * np.prod(below))

    return sum(quad(density, low, high, epsabs=1e-14, epsrel=1e-9)[0] for low, high in pairwise(points))


@pytest.mark.parametrize("seed", range(4))
def test_narrow_and_wide_scores(seed: int) -> None:
    """Scores whose deviations lie up to seven orders apart, some of them certain: relative error below 1e-6."""
    rng = np.random.default_rng(seed)
    presets = int(rng.integers(2, 5))
    means, deviations = rng.normal(0.0, 1.0, presets), 10.0 ** rng.uniform(-6, 1, presets)
    if seed % 2:
        deviations[-1] = 0.0

    found = probability_of_best(means, deviations)

    for index in np.flatnonzero(deviations):
        expected = by_definition(means, deviations, int(index))
        if expected >= 1e-6:
            assert found[index] == pytest.approx(expected, rel=1e-6)
        else:
            assert found[index] == pytest.approx(expected, abs=1e-12)


def test_two_scores_have_a_closed_form() -> None:
    """P(a > b) = Φ((μa - μb) / sqrt(σa² + σb²)), down to one in a million."""
    for gap in (0.0, 0.5, 3.0, 4.7, -4.7):
        found = probability_of_best(np.array([gap, 0.0]), np.array([0.8, 0.6]))
        assert found[0] == pytest.approx(ndtr(gap), rel=1e-6)


def test_sixty_four_alike() -> None:
    """Presets of which nothing is known are equally likely, however many."""
    np.testing.assert_allclose(probability_of_best(np.zeros(64), np.ones(64)), 1 / 64, rtol=1e-9)


def test_certain_scores() -> None:
    """Without deviation the highest wins, of equal ones the first, as `argmax` says."""
    means = np.array([0.0, 2.0, 2.0])

    assert probability_of_best(means, np.zeros(3)).tolist() == [0.0, 1.0, 0.0]
    assert probability_of_best(means, np.array([0.0, 0.0, 1.0])).tolist() == pytest.approx([0.0, 0.5, 0.5])
    assert probability_of_best(means, np.array([1.0, 0.0, 0.0])).tolist() == pytest.approx([ndtr(-2.0), ndtr(2.0), 0.0])


def test_far_apart() -> None:
    """One that is surely the best has all; nothing divides by zero."""
    assert probability_of_best(np.array([1e9, 0.0, -1e9]), np.array([1.0, 1e-9, 1.0])).tolist() == [1.0, 0.0, 0.0]
