"""Whether the mean of a paired difference is surely above zero, where neighbours overlap and stretches are few.

Forecasts over h hours share hours with their neighbours up to h hours away. The time is cut into even stretches of
twice that, whose means hardly depend on one another; few such means are spread like Student's t. A bootstrap of few
stretches knows too little of their spread, and stretches of h alone still lean on each other.

Reference: Ibragimov and Müller, t-statistic based correlation and heterogeneity robust inference, JBES 2010.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidewheel.contracts.times import HOUR, UtcMillis
from tidewheel.features.frames import Floats, Ints

CONFIDENCE = 0.95  #: one-sided


@dataclass(frozen=True, slots=True)
class MeanBound:
    """A mean, and what it surely exceeds."""

    mean: float  #: in units of the differences
    lower: float  #: with 95 % confidence

    @classmethod
    def of(cls, blocks: Sequence[Floats]) -> "MeanBound":
        """From the differences of each stretch of time, at least two; a stretch counts by how many it has."""
        from scipy.special import stdtrit  # a third of a second, and most who open a gate compare no forecasts

        sums, counts = np.array([block.sum() for block in blocks]), np.array([len(block) for block in blocks])
        n, count = int(counts.sum()), len(blocks)
        mean = float(sums.sum()) / n
        off = sums - counts * mean
        error = float(np.sqrt(count / (count - 1) * (off @ off))) / n
        return cls(mean, mean - float(stdtrit(count - 1, CONFIDENCE)) * error)


def stretches(times: Ints, start: UtcMillis, hours: int) -> list[Ints]:
    """Places of `times` (rising, from `start` on) in even stretches of `hours` hours or a little more; an empty one is
    none.
    """
    span = int(times[-1]) + HOUR - start if len(times) else 0
    whole = span // (hours * HOUR)
    stretch = (times - start) * whole // max(span, 1)
    return [np.flatnonzero(stretch == each) for each in np.unique(stretch)] if whole else []
