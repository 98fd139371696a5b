"""The trees in an ONNX graph: flat lists of nodes that name one another by number."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadModel
from tidewheel.registry.formats.trees import check_tree

TREES = "TreeEnsembleRegressor"
_SAME_WIDTH = frozenset({"Cast", "Identity", "Imputer", "Normalizer", "Scaler"})
_MODES = frozenset({b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"LEAF"})
_MAX_OUTPUTS = 10_000


def check_trees(graph: Any, table: str, features: int | None) -> int:
    """Check every tree; the least number of columns that they can be asked with, 1 where there is no tree.

    `table` is the graph's input with `features` columns, None where the file does not tell.

    Raises:
        BadModel: a tree cannot be walked, or reads a table whose width is not known.
    """
    from onnx import helper

    wide, least = {table}, 1
    for node in graph.node:
        if node.op_type in _SAME_WIDTH and node.input and node.input[0] in wide:
            wide.update(node.output)
        if node.op_type == TREES:
            if not node.input or node.input[0] not in wide:
                raise BadModel("its trees read something else than the features, scaled at most")
            values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            least = max(least, _check_ensemble(values, features))
    return least


def _check_ensemble(values: dict[str, Any], features: int | None) -> int:
    trees, numbers = _numbers(values, "nodes_treeids"), _numbers(values, "nodes_nodeids")
    columns, yes, no = (_numbers(values, f"nodes_{name}ids") for name in ("feature", "truenode", "falsenode"))
    modes = np.array(values.get("nodes_modes", []), dtype=object)
    if not len(trees) or not len(trees) == len(numbers) == len(columns) == len(yes) == len(no) == len(modes):
        raise BadModel("its trees have no nodes, or lists of different lengths")
    if not set(modes.tolist()) <= _MODES:
        raise BadModel("its trees decide by more than one comparison of numbers")
    leaf = modes == b"LEAF"
    least = int(columns[~leaf].max()) + 1 if (~leaf).any() else 1
    width = least if features is None else features
    for tree in np.unique(trees):
        mine = np.flatnonzero(trees == tree)
        if not np.array_equal(numbers[mine], np.arange(len(mine))):
            raise BadModel(f"tree {tree} does not count its nodes from 0 on")
        check_tree(
            f"tree {tree}", left=yes[mine], right=no[mine], leaf=leaf[mine].astype(np.bool_), feature=columns[mine],
            width=width,
        )  # fmt: skip
    _check_leaves(values, dict(zip(zip(trees.tolist(), numbers.tolist(), strict=True), leaf.tolist(), strict=True)))
    return least


def _check_leaves(values: dict[str, Any], leaves: dict[tuple[int, int], bool]) -> None:
    outputs = int(values.get("n_targets", 1))
    trees, numbers, targets = (_numbers(values, f"target_{name}ids") for name in ("tree", "node", ""))
    weights = values.get("target_weights", [])
    if not len(trees) == len(numbers) == len(targets) == len(weights) or not 1 <= outputs <= _MAX_OUTPUTS:
        raise BadModel("its leaves have lists of different lengths, or too many outputs")
    if not all(leaves.get(place) for place in zip(trees.tolist(), numbers.tolist(), strict=True)):
        raise BadModel("a weight belongs to a node that is no leaf")
    if len(targets) and not 0 <= targets.min() <= targets.max() < outputs:
        raise BadModel("a leaf answers an output that is not there")


def _numbers(values: dict[str, Any], name: str) -> NDArray[np.int64]:
    return np.array(values.get(name, []), dtype=np.int64)
