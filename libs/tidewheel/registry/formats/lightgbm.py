"""LightGBM's text: read by us, every tree looked at, and written anew for LightGBM from what was checked alone.

So LightGBM never sees a key, a count or a section that we did not understand; the numbers stay as they were written.
"""

import re

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.errors import BadModel
from tidewheel.features.frames import Floats
from tidewheel.registry.formats.regressor import MAX_COLUMNS, Booster, names_of, refusing
from tidewheel.registry.formats.trees import check_tree

OBJECTIVES = (
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie",
)  # fmt: skip
_WHAT = "not a LightGBM regressor as text"
_OPTION = re.compile(r"sqrt|[a-z_]{1,40}:[-+0-9.e]{1,30}")
_WHOLE = re.compile(r"-?[0-9]{1,10}")
_NUMBER = re.compile(r"-?[0-9]{1,25}(?:\.[0-9]{0,40})?(?:[eE][-+]?[0-9]{1,3})?")
_MAX_TREES = 100_000
_BYTES_A_LEAF = 96
_CATEGORY, _MISSING_KINDS = 1, 2  #: bit 0 of a decision type; how far its kind of missing values is shifted


def check(content: bytes) -> None:
    """Refuse what is no model of plain trees.

    Raises:
        BadModel: says why.
    """
    with refusing(_WHAT):
        _Model(content)


def load(content: bytes) -> Booster:
    """The model in one thread.

    Raises:
        BadModel: says why not.
    """
    import lightgbm

    with refusing(_WHAT, lightgbm.basic.LightGBMError):
        model = _Model(content)
        booster = lightgbm.Booster(model_str=model.text())

    def ask(rows: Floats) -> object:
        return booster.predict(rows, num_threads=1)

    return Booster(model.features, model.outputs, model.names, model.leaves * _BYTES_A_LEAF, ask)


class _Model:
    """What the file says, checked."""

    def __init__(self, content: bytes) -> None:
        head, *trees = content.decode("ascii").replace("\r\n", "\n").split("\nTree=")
        if not head.startswith("tree\n") or not trees:
            raise BadModel("it does not begin with the line `tree`, or has no tree")
        last, found, _ = trees[-1].partition("\nend of trees")
        if not found:
            raise BadModel("it is cut off: there is no line `end of trees`")
        header = _keys(head[len("tree\n") :])
        self._average = "average_output" in header
        self._objective = _objective(header.get("objective", ""))
        self.features = _whole(header, "max_feature_idx", 0, MAX_COLUMNS - 1) + 1
        self.outputs = _whole(header, "num_tree_per_iteration", 1, 1)
        self.names = names_of(header.get("feature_names", "").split(), self.features)
        _whole(header, "num_class", 1, 1)
        if header.get("version") not in ("v3", "v4"):
            raise BadModel(f"it is of version {header.get('version', '')[:20]!r}, not v3 or v4")
        bodies = [*trees[:-1], last]
        if len(bodies) > _MAX_TREES:
            raise BadModel(f"it has {len(bodies)} trees, more than {_MAX_TREES}")
        self.leaves = 0
        self._trees = [self._tree(body, number) for number, body in enumerate(bodies)]

    def _tree(self, body: str, number: int) -> str:
        """The tree's text, of what was checked."""
        what = f"tree {number}"
        keys = _keys(body.partition("\n")[2])
        leaves = _whole(keys, "num_leaves", 1, 2**30)
        _whole(keys, "num_cat", 0, 0)
        if keys.get("is_linear", "0") != "0":
            raise BadModel(f"{what} has linear leaves, which are not served")
        values = _column(keys, "leaf_value", leaves, _NUMBER)
        self.leaves += leaves
        if leaves == 1:
            return f"num_leaves=1\nnum_cat=0\nleaf_value={values[0]}\nshrinkage=1\n\n\n"
        inner = leaves - 1
        columns = {name: _column(keys, name, inner, _WHOLE) for name in ("split_feature", "left_child", "right_child")}
        decisions = _column(keys, "decision_type", inner, _WHOLE)
        if not {int(each) for each in decisions} <= {0, 2, 4, 6, 8, 10}:
            raise BadModel(f"{what} has a decision that is no comparison of numbers; save it as ONNX")
        check_tree(
            what, left=_graph(columns["left_child"], inner), right=_graph(columns["right_child"], inner),
            leaf=np.arange(inner + leaves) >= inner, feature=_padded(columns["split_feature"], leaves),
            width=self.features,
        )  # fmt: skip
        lists = {**columns, "decision_type": decisions, "threshold": _column(keys, "threshold", inner, _NUMBER)}
        lists["leaf_value"] = values
        text = "".join(f"{name}={' '.join(column)}\n" for name, column in lists.items())
        return f"num_leaves={leaves}\nnum_cat=0\n{text}is_linear=0\nshrinkage=1\n\n\n"

    def text(self) -> str:
        """The model for LightGBM."""
        trees = [f"Tree={number}\n{body}" for number, body in enumerate(self._trees)]
        names = " ".join(f"f{column}" for column in range(self.features))
        ranges = " ".join("none" for _ in range(self.features))
        return (
            "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
            f"max_feature_idx={self.features - 1}\nobjective={self._objective}\n"
            f"{'average_output' + chr(10) if self._average else ''}"
            f"feature_names={names}\nfeature_infos={ranges}\n"
            f"tree_sizes={' '.join(str(len(tree)) for tree in trees)}\n\n{''.join(trees)}end of trees\n"
        )


def _keys(text: str) -> dict[str, str]:
    keys: dict[str, str] = {}
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        if key in keys and key:
            raise BadModel(f"key {key[:40]!r} occurs twice in one section")
        keys[key] = value
    return keys


def _whole(keys: dict[str, str], name: str, least: int, most: int) -> int:
    text = keys.get(name, "")
    if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise BadModel(f"{name} is {text[:40]!r}, not within {least} to {most}")
    return int(text)


def _column(keys: dict[str, str], name: str, count: int, form: re.Pattern[str]) -> list[str]:
    found = keys.get(name, "").split()
    if len(found) != count:
        raise BadModel(f"{name} has {len(found)} values where {count} are promised")
    odd = next((value for value in found if not form.fullmatch(value)), None)
    if odd is not None:
        raise BadModel(f"{name} holds {odd[:40]!r}, which is no plain number")
    return found


def _graph(children: list[str], inner: int) -> NDArray[np.int64]:
    """Children as nodes of one graph: the inner ones first, then the leaves, which LightGBM counts from -1 down."""
    values = np.array([int(child) for child in children], dtype=np.int64)
    nodes = np.where(values < 0, inner + ~values, values)
    return np.concatenate([np.where((values >= inner), -1, nodes), np.full(inner + 1, -1)])


def _padded(features: list[str], leaves: int) -> NDArray[np.int64]:
    return np.array([*(int(feature) for feature in features), *([0] * leaves)], dtype=np.int64)


def _objective(text: str) -> str:
    name, *options = text.split(" ")
    if name not in OBJECTIVES or not all(_OPTION.fullmatch(option) for option in options):
        raise BadModel(f"its objective {text[:80]!r} is none of a regressor: {', '.join(OBJECTIVES)}")
    return text
