"""How likely each of several independent normal scores is the highest."""

import numpy as np
from scipy.special import ndtr

from tidewheel.features.frames import Floats

_REACH = 8.5  #: standard deviations; beyond lies 1e-17
_CUTS = np.linspace(-_REACH, _REACH, 9)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_ROOT = np.sqrt(2.0 * np.pi)


def probability_of_best(means: Floats, deviations: Floats) -> Floats:
    """P(score a is the highest), [K], for independent scores N(means[a], deviations[a]²); sums to 1.

    A deviation of 0 makes a score certain; of equal certain ones the first wins. Deterministic; a probability above
    1e-6 has a relative error below 1e-6.

    The integral of f_a(s) Π F_b(s) over s is cut wherever one of the scores passes another two of its own standard
    deviations, and each piece is integrated with eight Gauss-Legendre nodes: narrow and wide scores meet safely.

    >>> probability_of_best(np.array([0.0, 0.0, -9.0]), np.array([1.0, 1.0, 0.0])).round(12).tolist()
    [0.5, 0.5, 0.0]
    """
    found = np.zeros(len(means))
    lowest = (means - _REACH * deviations).max()  # the highest score is surely above it
    drawn = np.flatnonzero((deviations > 0) & (means + _REACH * deviations > lowest))
    certain = int(np.argmax(np.where(deviations > 0, -np.inf, means)))
    floor = max(lowest, means[certain]) if deviations[certain] == 0 else lowest
    if deviations[certain] == 0:
        found[certain] = ndtr((means[certain] - means[drawn]) / deviations[drawn]).prod()
    if len(drawn):
        found[drawn] = _integrals(means[drawn], deviations[drawn], floor)
    found /= found.sum()
    return found


def _integrals(means: Floats, deviations: Floats, floor: float) -> Floats:
    step = deviations.min()  # cuts that lie closer are one
    cuts = np.round((means[:, None] + deviations[:, None] * _CUTS) / step) * step
    cuts = np.unique(np.append(cuts[cuts > floor], floor))
    half = np.diff(cuts)[:, None] / 2.0
    scores = (cuts[:-1, None] + half * (1.0 + _NODES)).ravel()
    weights = (half * _WEIGHTS).ravel()
    standard = (scores - means[:, None]) / deviations[:, None]
    below = ndtr(standard)
    # The product over all others, without dividing: one from the left times one from the right.
    ones = np.ones((1, len(scores)))
    left = np.cumprod(np.vstack([ones, below[:-1]]), axis=0)
    right = np.cumprod(np.vstack([ones, below[:0:-1]]), axis=0)[::-1]
    density = np.exp(-0.5 * standard**2) / (_ROOT * deviations[:, None])
    total: Floats = (density * left * right) @ weights
    return total
