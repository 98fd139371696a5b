"""Intervals around a forecast by split conformal prediction, and how often they held the truth.

The residuals of n forecasts that the model was not fitted on are put in order; the ceil((n + 1) * level)-th smallest is
the half width of every later interval. Where the next residual is exchangeable with those n, it lies inside with a
probability of at least `level` and less than level + 1 / (n + 1), whatever the model and the law of the errors.

Forecasts in time are not exchangeable: volatility comes in clusters, and forecasts over h hours share hours with their
neighbours. Residuals divided by a scale that is known at the time of the forecast are nearer to that, and the interval
gets as wide as the hour is wild. Still the level is an aim, and `Coverage`, measured on what came, is the check.

Reference: Lei et al., Distribution-free predictive inference for regression, JASA 2018, theorem 2.2; the scale, 5.2.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadInput
from tidewheel.features.frames import Floats

LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class Conformal:
    """What a set of residuals says of the next one."""

    level: float  #: probability to lie inside that is asked for
    half_width: float | None  #: in units of the residuals; None where n is too small for the level
    n: int  #: residuals

    @classmethod
    def of(cls, residuals: Floats, level: float = LEVEL) -> "Conformal":
        """From residuals of any sign, shape [n].

        Raises:
            BadInput: a residual is not finite, or `level` is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise BadInput(f"level {level} is not possible; an interval's level is between 0 and 1, such as {LEVEL}")
        sizes = np.sort(np.abs(np.asarray(residuals, dtype=np.float64)))
        if sizes.ndim != 1 or not np.isfinite(sizes).all():
            raise BadInput("an interval needs a flat list of finite residuals")
        rank = _rank(len(sizes), level)
        return cls(level, float(sizes[rank - 1]) if rank <= len(sizes) else None, len(sizes))

    @property
    def why(self) -> str | None:
        """Why there is no interval, or None where there is one."""
        if self.half_width is not None:
            return None
        needed = next(n for n in range(self.n + 1, 1_000_000) if _rank(n, self.level) <= n)
        return f"{self.n} residuals are known; an interval of level {self.level:g} needs {needed}"

    def around(self, predicted: float, scale: float) -> tuple[float, float] | None:
        """Bounds of the interval in prices, where the residuals are in units of `scale`; None without a half width."""
        if self.half_width is None:
            return None
        reach = self.half_width * scale
        return predicted - reach, predicted + reach


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often intervals held what came."""

    share: float | None  #: of the n that held it; None where n is 0
    n: int  #: forecasts with an interval whose outcome is known

    @classmethod
    def of(cls, inside: NDArray[np.bool_]) -> "Coverage":
        """From whether each interval held its outcome, shape [n]."""
        return cls(float(np.mean(inside)) if len(inside) else None, len(inside))


def _rank(n: int, level: float) -> int:
    return math.ceil((n + 1) * level - 1e-9)  # 0.7 * 10 is a little over 7
