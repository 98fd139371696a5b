"""Whether what a model reads now looks like what it was fitted on: the population stability index of one feature.

The reference is cut into ten bins at its deciles (fewer where values repeat). With the share p of the reference and the
share q of the samples in each bin, PSI is the sum of (q - p) ln(q / p). Shares are Laplace smoothed, (count + 1) /
(n + bins), so an empty bin stays finite.

A PSI is never quite zero: without any drift its mean is about (bins - 1) (1 / n + 1 / reference), of samples that are
independent. Neighbouring hours are not: a change over a day has moved little an hour later, and its index wanders as
that of so many samples fewer. `noise` tells it, `overlap` being how many neighbours are worth one independent sample.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tidewheel.contracts.errors import BadInput
from tidewheel.features.frames import Floats

BINS = 10
MIN_SAMPLES = 100
LEAST = 0.25  #: below which nobody calls it drift
_TIMES_NOISE = 3.0


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the samples of one feature lie from its reference."""

    psi: float | None  #: 0 where they are alike; None below 100 samples
    n: int  #: samples
    noise: float  #: about the PSI to expect of such samples without any drift

    @property
    def judgement(self) -> Literal["ordinary", "drifted"] | None:
        """Drifted: above 0.25 and above three times the noise; None where there is no PSI."""
        if self.psi is None:
            return None
        return "drifted" if self.psi > max(LEAST, _TIMES_NOISE * self.noise) else "ordinary"


@dataclass(frozen=True, slots=True)
class Reference:
    """What one feature looked like in the bars of the fit."""

    edges: tuple[float, ...]  #: between the bins, rising; an edge belongs to the bin below it
    counts: tuple[int, ...]  #: samples in each bin, one more than edges

    @classmethod
    def of(cls, values: Floats) -> "Reference":
        """From the values of the fit, shape [n], n > 0.

        Raises:
            BadInput: there is none, or one is not finite.
        """
        if not len(values):
            raise BadInput("a drift reference needs at least one value")
        found = np.unique(np.quantile(_finite(values), np.arange(1, BINS) / BINS, method="inverted_cdf"))
        edges = tuple(found[found < values.max()].tolist())  # an edge at the very top would bound an empty bin
        return cls(edges, tuple(_counts(values, edges).tolist()))

    def drift(self, values: Floats, overlap: float = 1.0) -> Drift:
        """Compare samples, shape [n], with the reference; `overlap` of them in a row are worth an independent one.

        Raises:
            BadInput: one is not finite.
        """
        n, reference, bins = len(values), sum(self.counts), len(self.counts)
        noise = (bins - 1) * overlap * (1 / max(n, 1) + 1 / reference)
        if n < MIN_SAMPLES:
            return Drift(None, n, noise)
        p = (np.array(self.counts) + 1) / (reference + bins)
        q = (_counts(_finite(values), self.edges) + 1) / (n + bins)
        return Drift(float(np.sum((q - p) * np.log(q / p))), n, noise)


def _counts(values: Floats, edges: tuple[float, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(np.int64)


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise BadInput("drift is measured on finite values; leave out rows in which a feature is missing")
    return values
