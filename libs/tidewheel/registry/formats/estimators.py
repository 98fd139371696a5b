"""Whether a built scikit-learn estimator is what its type says, so that its native code can be let loose on rows."""

from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadModel
from tidewheel.registry.formats.regressor import MAX_COLUMNS
from tidewheel.registry.formats.trees import check_tree

_MAX_OBJECTS = 2_000_000


def check_estimators(estimator: Any) -> None:
    """Check the estimator and everything in it, and make it work in one thread, without names of columns.

    Raises:
        BadModel: an attribute hides a method, a tree cannot be walked, or the number of features is not told.
    """
    if not 1 <= _width(estimator) <= MAX_COLUMNS:
        raise BadModel(f"the estimator wants {_width(estimator)} features, not 1 to {MAX_COLUMNS}")
    waiting, seen = [estimator], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if len(seen) > _MAX_OBJECTS:
            raise BadModel(f"the estimator holds more than {_MAX_OBJECTS} objects")
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
            waiting += list(np.ravel(value)) if isinstance(value, np.ndarray) else value
        elif type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
            _check_object(value)
            waiting += vars(value).values()


def _width(estimator: Any) -> int:
    width = getattr(estimator, "n_features_in_", None)
    if type(width) is not int:
        raise BadModel(f"{type(estimator).__name__} does not tell its number of features; fit it before it is saved")
    return width


def _check_object(value: Any) -> None:
    kind = type(value)
    hidden = [name for name in vars(value) if callable(getattr(kind, name, None))]
    if hidden:
        raise BadModel(f"an attribute of {kind.__name__} hides its method {hidden[0][:80]}")
    if "n_jobs" in vars(value):
        value.n_jobs = None
    vars(value).pop("feature_names_in_", None)  # else it warns of rows without names
    fitted, check = _CHECKS.get(kind.__name__, ("", None))
    if check is not None and hasattr(value, fitted):  # an ensemble carries an unfitted pattern of its members too
        check(value)


def _check_decision_tree(estimator: Any) -> None:
    tree = estimator.tree_
    if not (_width(estimator) == tree.n_features and estimator.n_outputs_ == tree.n_outputs):
        raise BadModel("a decision tree's features or outputs are not those of its nodes")
    left = tree.children_left.astype(np.int64)
    check_tree(
        "a decision tree", left=left, right=tree.children_right.astype(np.int64), leaf=left == -1,
        feature=tree.feature.astype(np.int64), width=tree.n_features,
    )  # fmt: skip


def _check_members(ensemble: Any) -> None:
    # The ensemble looks at the width of the rows once and hands them to its trees unchecked.
    width, members = _width(ensemble), np.ravel(np.asarray(ensemble.estimators_, dtype=object))
    if not len(members):
        raise BadModel("an ensemble has no trees")
    for member in members:
        is_tree = type(member).__name__ in ("DecisionTreeRegressor", "ExtraTreeRegressor") and hasattr(member, "tree_")
        if not is_tree or _width(member) != width:
            raise BadModel("an ensemble has a member that is no tree over its features")


def _check_gradient_boosting(ensemble: Any) -> None:
    _check_members(ensemble)
    # Native code adds to one column of answers for each tree of a round, without asking how many there are.
    trees = ensemble.estimators_
    sound = isinstance(trees, np.ndarray) and trees.ndim == 2 and trees.shape[1] == 1
    if not sound or ensemble.n_trees_per_iteration_ != 1:
        raise BadModel("gradient boosting has other than one tree in a round")
    if any(tree.tree_.n_outputs != 1 for tree in trees[:, 0]):
        raise BadModel("gradient boosting has a tree with several outputs")


def _check_histogram_boosting(ensemble: Any) -> None:
    width = _width(ensemble)
    if ensemble.n_trees_per_iteration_ != 1 or ensemble.is_categorical_ is not None:
        raise BadModel("histogram boosting of categories or several outputs is not served; save it as ONNX")
    for round_ in ensemble._predictors:
        if len(round_) != 1 or type(round_[0]).__name__ != "TreePredictor":
            raise BadModel("histogram boosting has other than one tree in a round")
        nodes = round_[0].nodes
        if nodes["is_categorical"].any():
            raise BadModel("histogram boosting splits by a category; save it as ONNX")
        check_tree(
            "a tree of histogram boosting", left=nodes["left"].astype(np.int64),
            right=nodes["right"].astype(np.int64), leaf=nodes["is_leaf"] != 0,
            feature=nodes["feature_idx"].astype(np.int64), width=width,
        )  # fmt: skip


#: By type: the attribute without which it refuses to predict, and the check.
_CHECKS = {
    "DecisionTreeRegressor": ("tree_", _check_decision_tree),
    "ExtraTreeRegressor": ("tree_", _check_decision_tree),
    "RandomForestRegressor": ("estimators_", _check_members),
    "ExtraTreesRegressor": ("estimators_", _check_members),
    "GradientBoostingRegressor": ("estimators_", _check_gradient_boosting),
    "HistGradientBoostingRegressor": ("_predictors", _check_histogram_boosting),
}
