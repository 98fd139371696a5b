"""A regression forest as flat arrays, fitted by scikit-learn and answered by numpy alone.

Every tree is grown on a bootstrap of the rows (Breiman 2001); the answer is the mean over trees. scikit-learn compares
a value, rounded to 32 bits, with a threshold of 64 bits: rounding the threshold down to 32 bits decides alike and
halves it. The nodes of all trees lie in one array, each child behind its parent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadBundle, BadInput
from tidewheel.features.frames import Floats
from tidewheel.models.arrays import read_arrays, write_arrays

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

TREES = 200
MOST_LEAVES = 100  #: of a tree; keeps a bundle of four horizons below 4 MB
FEWEST_ROWS = 20  #: in a leaf
_MAX_DEPTH = 128
_PIECE = 1_024  #: rows that are answered at once, for the memory that it takes
_KINDS = {"roots": "<i4", "feature": "<i2", "threshold": "<f4", "left": "<i4", "right": "<i4", "value": "<f8"}


@dataclass(frozen=True, eq=False, slots=True)
class Forest:
    """N nodes of T trees; a leaf has feature, left and right -1."""

    kind: ClassVar[str] = "forest"

    features: int  #: columns that it reads
    roots: NDArray[np.int32]  #: [T], node at which a tree begins
    feature: NDArray[np.int16]  #: [N], column that the node asks
    threshold: NDArray[np.float32]  #: [N], up to it (included) a row goes left
    left: NDArray[np.int32]  #: [N]
    right: NDArray[np.int32]  #: [N]
    value: Floats  #: [N], the leaf's answer

    @classmethod
    def fit(cls, rows: Floats, targets: Floats, *, seed: int, trees: int = TREES) -> "Forest":
        """Fit on `rows` [n, f] and `targets` [n], all finite, in one thread; one seed gives one forest."""
        from sklearn.ensemble import RandomForestRegressor

        leaf = max(FEWEST_ROWS, -(-len(rows) // MOST_LEAVES))
        fitted = RandomForestRegressor(trees, min_samples_leaf=leaf, max_features=1 / 3, random_state=seed, n_jobs=1)
        return cls.of(fitted.fit(rows, targets))

    @classmethod
    def of(cls, fitted: "RandomForestRegressor") -> "Forest":
        """The nodes of a fitted forest of one output."""
        trees = [estimator.tree_ for estimator in fitted.estimators_]
        starts = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        leaf = np.concatenate([tree.children_left for tree in trees]) < 0
        shifts = np.repeat(starts, [tree.node_count for tree in trees])
        left, right, feature, threshold = (
            np.concatenate([getattr(tree, name) for tree in trees])
            for name in ("children_left", "children_right", "feature", "threshold")
        )
        return cls(
            features=int(fitted.n_features_in_),
            roots=starts.astype(np.int32),
            feature=np.where(leaf, -1, feature).astype(np.int16),
            threshold=np.where(leaf, 0.0, _rounded_down(threshold)).astype(np.float32),
            left=np.where(leaf, -1, left + shifts).astype(np.int32),
            right=np.where(leaf, -1, right + shifts).astype(np.int32),
            value=np.where(leaf, np.concatenate([tree.value[:, 0, 0] for tree in trees]), 0.0),
        )

    def predict(self, rows: Floats) -> Floats:
        """Answers for `rows` [n, f], shape [n]; the same bits for a row wherever it stands.

        Raises:
            BadInput: a value is not finite in 32 bits.
        """
        with np.errstate(over="ignore"):
            narrow = rows.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise BadInput("a forest reads finite numbers below 3.4e38; leave out rows in which a feature is missing")
        pieces = [self._answers(narrow[first : first + _PIECE]) for first in range(0, len(narrow), _PIECE)]
        return np.concatenate([np.zeros(0), *pieces])

    def _answers(self, rows: NDArray[np.float32]) -> Floats:
        node = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        row = np.arange(len(rows))[:, None]
        while True:
            asked = self.feature[node]
            if not (inner := asked >= 0).any():
                break
            goes_left = rows[row, asked] <= self.threshold[node]  # a leaf asks the last column, and is not moved
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        total: Floats = np.cumsum(self.value[node], axis=1)[:, -1]  # in the trees' order; a sum may take another
        return total / len(self.roots)

    def to_arrays(self) -> bytes:
        """The model as an npz file; equal models give equal bytes."""
        return write_arrays({name: getattr(self, name).astype(kind) for name, kind in _KINDS.items()})

    @classmethod
    def from_arrays(cls, name: str, content: bytes, features: int) -> "Forest":
        """The model of `to_arrays()` that reads `features` columns.

        Raises:
            BadBundle: the file `name` is damaged, or its nodes are no trees over so many columns.
        """
        found: Mapping[str, Any] = read_arrays(name, content, _KINDS)
        forest = cls(features, **found)
        if problem := forest._problem():
            raise BadBundle(f"{name} is not a sound forest: {problem}")
        return forest

    def _problem(self) -> str | None:
        nodes, trees = len(self.feature), len(self.roots)
        if {len(self.threshold), len(self.left), len(self.right), len(self.value)} != {nodes} or not trees:
            return "its arrays differ in length, or it has no tree"
        inner = self.feature >= 0
        if (self.feature < -1).any() or (self.feature >= self.features).any():
            return f"a node asks another column than the {self.features}"
        if not (np.isfinite(self.threshold).all() and np.isfinite(self.value).all()):
            return "a threshold or an answer is not finite"
        children = np.concatenate([self.left[inner], self.right[inner]])
        parents = np.tile(np.flatnonzero(inner), 2)
        if (children <= parents).any() or (children >= nodes).any() or (self.roots < 0).any():
            return "a child is not behind its parent, or is no node"
        if (self.left[~inner] != -1).any() or (self.right[~inner] != -1).any() or (self.roots >= nodes).any():
            return "a leaf has a child, or a root is no node"
        if (np.bincount(np.concatenate([self.roots, children]), minlength=nodes) != 1).any():
            return "a node does not have exactly one parent, or is not a root"
        # Each child behind its one parent: so the walk from the roots meets every node once, and ends.
        level = self.roots[inner[self.roots]]
        for _ in range(_MAX_DEPTH):
            if not len(level):
                return None
            level = np.concatenate([self.left[level], self.right[level]])
            level = level[inner[level]]
        return f"a tree is deeper than {_MAX_DEPTH}"


def _rounded_down(threshold: Floats) -> NDArray[np.float32]:
    """The largest number of 32 bits that is not above each threshold."""
    nearest = threshold.astype(np.float32)
    return np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float32)
