"""Whether a decision tree in arrays can be walked: a native library follows such indices without looking.

A tree whose child lies outside, or whose nodes form a ring, would read foreign memory or never end, and only for the
rows that come that way: a trial on a few rows does not find it.
"""

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadModel


def check_tree(
    what: str, *, left: NDArray[np.int64], right: NDArray[np.int64], leaf: NDArray[np.bool_],
    feature: NDArray[np.int64], width: int,
) -> None:  # fmt: skip
    """Nodes [m], the root first; where not `leaf`, `left` and `right` are nodes and `feature` a column below `width`.

    Raises:
        BadModel: a child is no node, a node has two parents, or a split asks for a column that is not there.
    """
    nodes = len(leaf)
    if not nodes or not nodes == len(left) == len(right) == len(feature):
        raise BadModel(f"{what} has no nodes, or columns of different lengths")
    inner = ~leaf
    children = np.concatenate([left[inner], right[inner]])
    if len(children) and not (children.min() > 0 and children.max() < nodes):
        raise BadModel(f"{what} has a child that is not one of its {nodes} nodes")
    # With at most one parent each and none for the root, no walk from the root can come back to a node.
    if len(children) and np.bincount(children).max() > 1:
        raise BadModel(f"{what} has a node with two parents")
    splits = feature[inner]
    if len(splits) and not (splits.min() >= 0 and splits.max() < width):
        raise BadModel(f"{what} splits by a column that is not one of its {width} features")
