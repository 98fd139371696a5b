"""Least squares with an intercept, and only where that has no single answer, a tiny ridge.

The documented features relative to the price are such a case by themselves: the change over an hour is the lag of one
hour with its sign turned. The ridge then shares the weight between them; `ridge` tells that it was used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tidewheel.contracts.errors import BadBundle
from tidewheel.features.frames import Floats
from tidewheel.features.rowsums import row_sums
from tidewheel.models.arrays import read_arrays, write_arrays

_SINGULAR = 1e-10  #: singular values below this part of the largest count as zero
_RIDGE = 1e-6  #: penalty on a weight of the standardised features, in squared deviations of one row each


@dataclass(frozen=True, eq=False, slots=True)
class LinearModel:
    """y = intercept + rows · weights."""

    kind: ClassVar[str] = "linear"

    intercept: float
    weights: Floats  #: [f]
    ridge: float  #: 0, or the penalty that made the answer a single one

    @property
    def features(self) -> int:
        """Columns that it reads."""
        return len(self.weights)

    @classmethod
    def fit(cls, rows: Floats, targets: Floats) -> "LinearModel":
        """Fit on `rows` [n, f] and `targets` [n], all finite; a feature that never moves gets no weight."""
        middle, spread = rows.mean(axis=0), rows.std(axis=0)
        still = spread <= _SINGULAR * np.abs(middle)
        spread = np.where(still, 1.0, spread)
        scaled = np.where(still, 0.0, (rows - middle) / spread)
        centred = targets - targets.mean()
        sizes = np.linalg.svd(scaled, compute_uv=False) if scaled.size else np.zeros(1)
        singular = len(sizes) < rows.shape[1] or bool(sizes.min() <= _SINGULAR * max(sizes.max(), 1.0))
        ridge = _RIDGE if singular else 0.0
        # The rows of the penalty make the system regular, so lstsq is never asked to choose among answers.
        penalty = np.sqrt(ridge * len(rows)) * np.eye(rows.shape[1])
        system, wanted = np.vstack([scaled, penalty]), np.concatenate([centred, np.zeros(rows.shape[1])])
        weights = np.linalg.lstsq(system, wanted, rcond=None)[0] / spread
        return cls(float(targets.mean() - middle @ weights), weights, ridge)

    def predict(self, rows: Floats) -> Floats:
        """Answers for `rows` [n, f], shape [n]; the same bits for a row wherever it stands."""
        return self.intercept + row_sums(rows * self.weights)

    def to_arrays(self) -> bytes:
        """The model as an npz file; equal models give equal bytes."""
        return write_arrays(
            {
                "intercept": np.array([self.intercept]),
                "weights": self.weights.astype(np.float64),
                "ridge": np.array([self.ridge]),
            }
        )

    @classmethod
    def from_arrays(cls, name: str, content: bytes, features: int) -> "LinearModel":
        """The model of `to_arrays()` that reads `features` columns.

        Raises:
            BadBundle: the file `name` is damaged, not finite or of another shape.
        """
        found: Mapping[str, Any] = read_arrays(name, content, {"intercept": "<f8", "weights": "<f8", "ridge": "<f8"})
        sizes = {member: len(values) for member, values in found.items()}
        if sizes != {"intercept": 1, "weights": features, "ridge": 1}:
            raise BadBundle(f"{name} holds {sizes} numbers; a linear model of {features} features has 1, {features}, 1")
        if not all(np.isfinite(values).all() for values in found.values()) or found["ridge"][0] < 0:
            raise BadBundle(f"{name} is not a sound linear model: a number is not finite, or the ridge is negative")
        return cls(float(found["intercept"][0]), found["weights"], float(found["ridge"][0]))
