"""XGBoost's JSON and UBJ: parsed by us first, every tree looked at, then loaded by XGBoost itself."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadModel
from tidewheel.features.frames import Floats
from tidewheel.modelstore.formats import strict_json
from tidewheel.registry.formats.regressor import MAX_COLUMNS, Booster, names_of, refusing
from tidewheel.registry.formats.trees import check_tree
from tidewheel.registry.formats.ubj import read_ubj

OBJECTIVES = (
    "reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror",
    "reg:gamma", "reg:tweedie", "count:poisson",
)  # fmt: skip
_WHAT = "not a gradient-boosted regressor of XGBoost"
_COLUMNS = (
    "base_weights", "default_left", "left_children", "loss_changes", "parents", "right_children", "split_conditions",
    "split_indices", "split_type", "sum_hessian",
)  # fmt: skip
_ROOT_PARENT = 2**31 - 1
_BYTES_A_NODE = 64


def check(content: bytes) -> None:
    """Refuse what is no model of trees within limits.

    Raises:
        BadModel: says why.
    """
    with refusing(_WHAT):
        _Shape(content)


def load(content: bytes) -> Booster:
    """The model in one thread.

    Raises:
        BadModel: says why not.
    """
    import xgboost

    with refusing(_WHAT, xgboost.core.XGBoostError):
        shape = _Shape(content)
        booster = xgboost.Booster({"nthread": 1, "verbosity": 0}, model_file=bytearray(content))

    def ask(rows: Floats) -> object:
        return booster.inplace_predict(
            rows, iteration_range=(0, shape.rounds), validate_features=False, strict_shape=True
        )

    return Booster(shape.features, shape.outputs, shape.names, shape.nodes * _BYTES_A_NODE, ask)


class _Shape:
    """What the file says of itself, checked."""

    def __init__(self, content: bytes) -> None:
        root = (
            read_ubj(content) if content[:2] in (b"{L", b"{i", b"{U", b"{I", b"{l") else strict_json("model", content)
        )
        learner = root["learner"]
        name = learner["objective"]["name"]
        if name not in OBJECTIVES:
            raise BadModel(f"its objective {str(name)[:80]!r} is none of a regressor: {', '.join(OBJECTIVES)}")
        parameters = learner["learner_model_param"]
        self.features = _whole(parameters["num_feature"], 1, MAX_COLUMNS)
        groups = max(_whole(parameters["num_class"], 0, 0), _whole(parameters.get("num_target", "1"), 1, MAX_COLUMNS))
        self.outputs = groups
        self.names = names_of(learner.get("feature_names", ()), self.features)
        booster = learner["gradient_booster"]
        if booster["name"] not in ("gbtree", "dart"):
            raise BadModel(f"its booster {str(booster['name'])[:80]!r} is neither gbtree nor dart")
        model = booster["gbtree"]["model"] if booster["name"] == "dart" else booster["model"]
        self.trees = len(model["trees"])
        if booster["name"] == "dart" and len(booster["weight_drop"]) != self.trees:
            raise BadModel("it has other than one weight for each tree")
        self.nodes = sum(self._tree(tree, number) for number, tree in enumerate(model["trees"]))
        self._check_rounds(model, groups)
        self.rounds = _best(learner.get("attributes", {}), len(model["iteration_indptr"]) - 1)

    def _tree(self, tree: Any, number: int) -> int:
        what = f"tree {number}"
        if type(tree["id"]) is not int or tree["id"] != number:  # XGBoost leaves the place of a missing one empty
            raise BadModel(f"{what} calls itself {str(tree['id'])[:40]}; the trees are counted from 0")
        parameters = tree["tree_param"]
        nodes = _whole(parameters["num_nodes"], 1, 2**31 - 2)
        if any(len(tree[column]) != nodes for column in _COLUMNS):
            raise BadModel(f"{what} promises {nodes} nodes, which is not what its columns have")
        if _whole(parameters["num_feature"], 0, MAX_COLUMNS) != self.features:
            raise BadModel(f"{what} is of another number of features than the model")
        if _whole(parameters.get("size_leaf_vector", "1"), 0, 1) > 1 or np.any(_whole_numbers(tree["split_type"])):
            raise BadModel(f"{what} has leaves of several outputs, or splits by a category; save it as ONNX")
        if any(len(tree.get(column, ())) for column in ("categories", "categories_nodes", "categories_segments")):
            raise BadModel(f"{what} splits by a category; save it as ONNX")
        left, right = _whole_numbers(tree["left_children"]), _whole_numbers(tree["right_children"])
        if not np.array_equal(left == -1, right == -1):
            raise BadModel(f"{what} has a node with one child")
        parents = _whole_numbers(tree["parents"])
        if parents[0] not in (_ROOT_PARENT, -1) or not ((parents[1:] >= -1) & (parents[1:] < nodes)).all():
            raise BadModel(f"{what} has a parent that is not one of its nodes")
        for column in ("base_weights", "split_conditions", "sum_hessian", "loss_changes"):
            if not np.isfinite(np.asarray(tree[column], dtype=np.float64)).all():
                raise BadModel(f"{what} has a number in {column} that is not finite")
        splits = _whole_numbers(tree["split_indices"])
        check_tree(what, left=left, right=right, leaf=left == -1, feature=splits, width=self.features)
        inner = np.flatnonzero(left != -1)
        if not (np.array_equal(parents[left[inner]], inner) and np.array_equal(parents[right[inner]], inner)):
            raise BadModel(f"{what} has a child that names another parent")
        return nodes

    def _check_rounds(self, model: Any, groups: int) -> None:
        if _whole(model["gbtree_model_param"]["num_trees"], 1, 10**6) != self.trees:
            raise BadModel("it promises another number of trees than it has")
        owners, ends = _whole_numbers(model["tree_info"]), _whole_numbers(model["iteration_indptr"])
        if len(owners) != self.trees or owners.min() < 0 or owners.max() >= groups:
            raise BadModel("a tree belongs to an output that is not there")
        if ends[0] != 0 or ends[-1] != self.trees or not all(a < b for a, b in pairwise(ends.tolist())):
            raise BadModel("its rounds do not cover its trees")
        if any(len(column) for column in (model.get("cats") or {}).values()):
            raise BadModel("it encodes categories; save it as ONNX")


def _whole(text: Any, least: int, most: int) -> int:
    """A parameter, which XGBoost writes as text."""
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or len(text) > 10:
        raise BadModel(f"a parameter is {str(text)[:40]!r}, not a whole number as text")
    if not least <= int(text) <= most:
        raise BadModel(f"a parameter is {text}, not within {least} to {most}; a classifier is not served")
    return int(text)


def _whole_numbers(column: Any) -> NDArray[np.int64]:
    values = np.asarray(column if len(column) else np.zeros(0, dtype=np.int64))
    if values.ndim != 1 or values.dtype.kind not in "iub":
        raise BadModel("a column of whole numbers holds something else")
    return values.astype(np.int64)


def _best(attributes: Any, rounds: int) -> int:
    """How many rounds answer: as XGBRegressor does, those up to the best where it stopped early; else all."""
    if "scikit_learn" not in attributes or "best_iteration" not in attributes:
        return rounds
    return min(_whole(attributes["best_iteration"], 0, 10**6) + 1, rounds)
