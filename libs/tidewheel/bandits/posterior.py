"""What the outcomes of one preset have taught: the discounted sums of a linear model, and the belief they give.

The reward of a preset in context x is taken for x'θ + noise. From sums S = Σ w x x' and m = Σ w r x the belief in θ is
a normal one around θ̂ = A⁻¹ m with covariance v² A⁻¹, where A = ridge·I + S; a weight w halves every half-life.
Only the sums are kept, in pairs of float64, so that a million nearly collinear contexts lose nothing of θ̂; A is
factored for each belief, with iterative refinement, and never inverted.

References: Agrawal & Goyal (2013), Thompson sampling for contextual bandits with linear payoffs; Higham (2002),
Accuracy and stability of numerical algorithms, section 12.1 (iterative refinement).

>>> import numpy as np
>>> taught = Posterior.empty(2)
>>> for when, (trend, reward) in enumerate([(1.0, 3.0), (-1.0, -1.0), (0.5, 2.0)]):
...     taught = taught.learn(np.array([1.0, trend]), reward, at=when, half_life_ms=None)
>>> belief = taught.solve(ridge=1e-9, at=3, half_life_ms=None)
>>> round(belief.mean(np.array([1.0, 2.0])), 6)
5.0
"""

import math
import struct
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from tidewheel.bandits.double_double import Pair, add, halving, multiply, two_prod
from tidewheel.contracts.errors import BadInput, PosteriorUnusable
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import Floats

LARGEST = 1e100  #: magnitude of a context's or reward's number; exact products need some room below float64's end
_LARGEST_SUM = 1e250
_HEAD = struct.Struct("<4sIqq")  #: mark, dimensions, count, learnt_at
_MARK = b"TWP1"
_ROUNDS = 12
_SETTLED = 1e-9  #: a correction relative to θ̂; the next would be about its square


@dataclass(frozen=True, eq=False, slots=True)
class Belief:
    """A normal belief in θ, up to the factor v of its width; in units of the reward and of scaled context."""

    theta: Floats  #: [d], its centre
    factor: Floats  #: [d, d], lower Cholesky factor of A with rows and columns scaled
    scale: Floats  #: [d], powers of two that bring the diagonal of A near 1

    def mean(self, x: Floats) -> float:
        """Expected reward x'θ̂ in context x [d]."""
        return float(x @ self.theta)

    def width(self, x: Floats) -> float:
        """sqrt(x' A⁻¹ x) in context x [d]; relative error about 1e-16 times the condition of the scaled A."""
        solved, _ = lapack.dtrtrs(self.factor, self.scale * x, lower=1)
        return math.sqrt(float(solved @ solved))


@dataclass(frozen=True, eq=False, slots=True)
class Posterior:
    """Sums over the outcomes of one preset; a value, changed by nobody.

    The same outcomes learnt in the same order give the same bytes on every machine.
    """

    hi: Floats  #: [d, d + 1]: S, and m as the last column, as they weigh at `learnt_at`
    lo: Floats  #: [d, d + 1]: what `hi` leaves over
    count: int  #: outcomes learnt
    learnt_at: UtcMillis  #: of the newest; 0 where there is none

    @classmethod
    def empty(cls, dimensions: int) -> "Posterior":
        """Nothing learnt yet in contexts of `dimensions` numbers, the leading 1 included."""
        return cls(np.zeros((dimensions, dimensions + 1)), np.zeros((dimensions, dimensions + 1)), 0, 0)

    @property
    def dimensions(self) -> int:
        """d, the length of a context."""
        return len(self.hi)

    def learn(self, x: Floats, reward: float, at: UtcMillis, half_life_ms: int | None) -> "Posterior":
        """Add one outcome of weight 1, after the earlier ones have faded up to `at`.

        Time never runs back: an outcome older than the newest counts as of the newest's time.

        Args:
            x: context [d] of the decision, leading 1 included.
            reward: as clipped.
            at: UTC ms.
            half_life_ms: after which a weight has halved; None where nothing fades.

        Raises:
            BadInput: x has another length, or a number is not finite or beyond 1e100.
        """
        if x.shape != (self.dimensions,):
            raise BadInput(f"a context of shape {x.shape} was given to a posterior of {self.dimensions} dimensions")
        row = np.append(x, reward)
        if not (np.abs(row) <= LARGEST).all():
            raise BadInput(f"context {x.tolist()} and reward {reward} are not all finite and within {LARGEST:g}")
        at = max(at, self.learnt_at)
        hi, lo = add(self._faded(at, half_life_ms), two_prod(x[:, None], row[None, :]))
        return Posterior(hi, lo, self.count + 1, at)

    def solve(self, ridge: float, at: UtcMillis, half_life_ms: int | None) -> Belief:
        """The belief at `at`, with θ̂ to about 1e-16 of its largest scaled part up to a condition of 1e14.

        Args:
            ridge: precision of the belief before any outcome, > 0, around θ = 0.
            at: UTC ms; what was learnt fades up to then.
            half_life_ms: as in `learn`.

        Raises:
            PosteriorUnusable: A is not positive definite, not finite, or too near to singular to be solved.
        """
        hi, lo = self._faded(max(at, self.learnt_at), half_life_ms)
        d = self.dimensions
        gram = add((hi[:, :d], lo[:, :d]), (ridge * np.eye(d), np.zeros((d, d))))
        diagonal = np.diagonal(gram[0])
        if not (np.isfinite(hi).all() and np.isfinite(lo).all() and (diagonal > 0).all()):
            raise PosteriorUnusable(f"the sums of {self.count} outcomes are not finite, or their diagonal not positive")
        scale = np.ldexp(1.0, -(np.frexp(diagonal)[1] // 2))
        both = scale[:, None] * scale
        scaled = (gram[0] * both, gram[1] * both)
        factor, failed_at = lapack.dpotrf(scaled[0], lower=1)
        if failed_at:
            raise PosteriorUnusable(f"the sums of {self.count} outcomes are not positive definite with ridge {ridge:g}")
        theta = _refined(scaled, (hi[:, d] * scale, lo[:, d] * scale), factor)
        return Belief(theta * scale, factor, scale)

    def _faded(self, at: UtcMillis, half_life_ms: int | None) -> Pair:
        if half_life_ms is None or at == self.learnt_at or not self.count:
            return self.hi, self.lo
        return multiply((self.hi, self.lo), halving(at - self.learnt_at, half_life_ms))

    def to_bytes(self) -> bytes:
        """Mark, dimensions, count, time, then `hi` and `lo` row by row as little-endian float64."""
        numbers = np.stack([self.hi, self.lo]).astype("<f8")
        return _HEAD.pack(_MARK, self.dimensions, self.count, self.learnt_at) + numbers.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Posterior":
        """The posterior of `to_bytes()`.

        Raises:
            PosteriorUnusable: the bytes are cut, foreign, not finite, or no sums of squares.
        """
        mark, d, count, learnt_at = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (b"", 0, 0, 0)
        if mark != _MARK or len(data) != _HEAD.size + 16 * d * (d + 1) or not d or count < 0:
            raise PosteriorUnusable(f"{len(data)} bytes beginning with {data[:4]!r} are no stored posterior")
        hi, lo = np.frombuffer(data, "<f8", offset=_HEAD.size).reshape(2, d, d + 1).astype(np.float64)
        squares = hi[:, :d]
        if not (np.abs([hi, lo]) <= _LARGEST_SUM).all():
            raise PosteriorUnusable("a stored posterior holds a number that is not finite, or too large for a sum")
        if not (squares == squares.T).all() or (np.diagonal(squares) < 0).any():
            raise PosteriorUnusable("a stored posterior holds no sums of squares: they are lopsided, or negative")
        return cls(hi, lo, count, learnt_at)

    def difference(self, other: "Posterior") -> float:
        """Largest difference between two posteriors' sums, relative to the largest sum; inf where shapes differ."""
        if self.hi.shape != other.hi.shape:
            return math.inf
        apart = np.abs((self.hi - other.hi) + (self.lo - other.lo)).max()
        return float(apart / max(np.abs(self.hi).max(), np.abs(other.hi).max(), np.finfo(np.float64).tiny))


def _refined(gram: Pair, moment: Pair, factor: Floats) -> Floats:
    """Solve gram·θ = moment: each round solves for what the last one left, with residuals that lose nothing."""
    found: Pair = (lapack.dpotrs(factor, moment[0], lower=1)[0], np.zeros_like(moment[0]))
    for _ in range(_ROUNDS):
        step = lapack.dpotrs(factor, _residual(gram, moment, found), lower=1)[0]
        found = add(found, (step, np.zeros_like(step)))
        if np.abs(step).max() <= _SETTLED * np.abs(found[0]).max():
            return found[0]
    raise PosteriorUnusable("the sums are too near to singular: raise the schema's ridge, or look for twin features")


def _residual(gram: Pair, moment: Pair, found: Pair) -> Floats:
    product, error = two_prod(gram[0], found[0])
    error = error + (gram[0] * found[1] + gram[1] * found[0])
    terms = np.column_stack([*moment, -product, -error])
    return np.array([math.fsum(row) for row in terms.tolist()])
