import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.libs.registry.models import FEATURES, rows, target, targets
from tidewheel.contracts.errors import BadModel
from tidewheel.registry.formats import lightgbm, xgboost
from tidewheel.registry.formats.ubj import read_ubj


@cache
def xgboost_model() -> Any:
    import xgboost

    return xgboost.XGBRegressor(n_estimators=5, max_depth=3, n_jobs=1).fit(rows(), target())


@cache
def lightgbm_model() -> Any:
    import lightgbm

    return lightgbm.LGBMRegressor(n_estimators=5, num_leaves=6, n_jobs=1, verbose=-1).fit(rows(), target())


def lightgbm_text() -> str:
    return str(lightgbm_model().booster_.model_to_string())


def xgboost_bytes(form: str) -> bytes:
    return bytes(xgboost_model().get_booster().save_raw(form))


def test_xgboost_answers_exactly_as_xgboost(tmp_path: Path) -> None:
    """Both spellings, dart, several outputs, and only the rounds up to the best where it stopped early."""
    import xgboost as original

    dart = original.XGBRegressor(n_estimators=5, max_depth=3, n_jobs=1, booster="dart", rate_drop=0.3)
    stopped = original.XGBRegressor(n_estimators=9, max_depth=3, n_jobs=1, early_stopping_rounds=2)
    models = [
        xgboost_model(),
        dart.fit(rows(), target()),
        original.XGBRegressor(n_estimators=3, max_depth=3, n_jobs=1).fit(rows(), targets()),
        stopped.fit(rows(), target(), eval_set=[(rows()[::-1], target())], verbose=False),
    ]
    for model in models:
        expected = np.asarray(model.predict(rows()), dtype=np.float64).reshape(len(rows()), -1)
        for form in ("json", "ubj"):
            model.save_model(tmp_path / f"model.{form}")
            loaded = xgboost.load((tmp_path / f"model.{form}").read_bytes())
            assert np.array_equal(loaded.predict(rows()), expected)
            assert (loaded.features, loaded.outputs) == (FEATURES, expected.shape[1])


def test_lightgbm_answers_exactly_as_lightgbm() -> None:
    """Plain boosting, a forest, a transformed objective and a tree without a split."""
    import lightgbm as original

    for options in (
        {},
        {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"objective": "quantile", "alpha": 0.3},
        {"reg_sqrt": True},
        {"min_child_samples": 1000},
    ):
        model = original.LGBMRegressor(n_estimators=3, num_leaves=6, n_jobs=1, verbose=-1, **options)
        model.fit(rows(), target())
        loaded = lightgbm.load(model.booster_.model_to_string().encode())
        assert np.array_equal(loaded.predict(rows())[:, 0], np.asarray(model.booster_.predict(rows()))), options
        assert (loaded.features, loaded.outputs) == (FEATURES, 1)


def in_tree(name: str, value: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model["learner"]["gradient_booster"]["model"]["trees"][0][name] = value

    return change


def in_learner(*path: str, value: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        for key in ("learner", *path[:-1]):
            model = model[key]
        model[path[-1]] = value

    return change


def test_what_xgboost_may_not_be_asked_to_load() -> None:
    """Each edit leaves well-formed JSON that would crash, hang, need code, or mean something else."""
    sound: Any = json.loads(xgboost_bytes("json"))
    tree = sound["learner"]["gradient_booster"]["model"]["trees"][0]
    nodes = len(tree["left_children"])

    def first(name: str, value: Any) -> list[Any]:
        return [value, *tree[name][1:]]

    changes = {
        "calls itself 1": in_tree("id", 1),
        "a parent that is not one": in_tree("parents", [2**31 - 1] * nodes),
        "names another parent": in_tree("parents", [2**31 - 1, *[0] * (nodes - 1)]),
        "a child that is not one": in_tree("left_children", first("left_children", 10**6)),
        "two parents": in_tree("left_children", first("left_children", tree["right_children"][0])),
        "is not one of its": in_tree("left_children", first("left_children", 0)),
        "one child": in_tree("right_children", first("right_children", -1)),
        "splits by a column": in_tree("split_indices", first("split_indices", FEATURES)),
        "by a category": in_tree("split_type", [1] * nodes),
        "promises": in_tree("base_weights", []),
        "something else": in_tree("left_children", [0.5] * nodes),
        "objective": in_learner("objective", "name", value="my_own"),
        "neither gbtree nor dart": in_learner("gradient_booster", "name", value="gblinear"),
        "another number of features": in_learner("learner_model_param", "num_feature", value="99"),
        "whole number": in_learner("learner_model_param", "num_feature", value="-1"),
        "classifier": in_learner("learner_model_param", "num_class", value="3"),
        "other number of trees|another number of trees": in_learner(
            "gradient_booster", "model", "gbtree_model_param", "num_trees", value="1000000"
        ),
        "output that is not there": in_learner("gradient_booster", "model", "tree_info", value=[7] * 5),
        "rounds": in_learner("gradient_booster", "model", "iteration_indptr", value=[0, 9]),
        "not a gradient-boosted regressor": in_learner("objective", value={}),
    }
    for sentence, change in changes.items():
        model = json.loads(json.dumps(sound))
        change(model)
        with pytest.raises(BadModel, match=sentence):
            xgboost.load(json.dumps(model).encode())
    for sentence, bad in {
        "nests deeper": b'{"learner":' * 50 + b"1" + b"}" * 50,
        "not strict JSON": b"\x80\x04\x95 a pickle",
        "cut off": xgboost_bytes("ubj")[:-9],
        "follow the end": xgboost_bytes("ubj") + b"x",
    }.items():
        with pytest.raises(BadModel, match=sentence):
            xgboost.load(bad)


def test_ubj_is_read_strictly() -> None:
    """Numbers, typed arrays and objects as XGBoost writes them; promises that the bytes do not keep are refused."""
    assert read_ubj(b"{U\x01a[$d#U\x02?\x80\x00\x00@\x00\x00\x00U\x01bSU\x02hi}")["b"] == "hi"
    assert read_ubj(b"[i\x01T F]".replace(b" ", b"")) == [1, True, False]
    for bad in (
        b"[$d#L" + b"\x7f" * 8, b"SL" + b"\x7f" * 8, b"SL" + b"\xff" * 8, b"[" * 40, b"{U\x01aTU\x01aF}", b"[$[#U\x02",
        b"x", b"", b"[$d#d\x00\x00\x00\x00", b"{" + b"U\x01",
    ):  # fmt: skip
        with pytest.raises(BadModel):
            read_ubj(bad)


def test_what_lightgbm_may_not_be_asked_to_load() -> None:
    """A billion leaves, rings, categories, columns that are not there, own objectives: refused as we read."""
    text = lightgbm_text()

    def line(name: str, value: str) -> str:
        return re.sub(rf"^{name}=.*$", f"{name}={value}", text, count=1, flags=re.M)

    cases = {
        "leaf_value has 6 values where 1000000000 are promised": line("num_leaves", "1000000000"),
        "not one of its": line("left_child", "99 -1 -2 -3 -4"),
        "two parents": line("left_child", "1 1 1 1 1"),
        "num_cat": line("num_cat", "2"),
        "no comparison": line("decision_type", "1 2 2 2 2"),
        "splits by a column": line("split_feature", "5 0 0 0 0"),
        "no plain number": line("threshold", "nan 0 0 0 0"),
        "objective": line("objective", "custom"),
        "max_feature_idx": line("max_feature_idx", "99999999"),
        "num_tree_per_iteration": line("num_tree_per_iteration", "3"),
        "version": line("version", "v9"),
        "names 2 columns": line("feature_names", "a b"),
        "linear leaves": text.replace("is_linear=0", "is_linear=1"),
        "end of trees": text.replace("end of trees", ""),
        "does not begin": "\n" + text,
        "twice": text.replace("num_cat=0", "num_cat=0\nnum_cat=0"),
        "UnicodeDecodeError": text + "é",
    }
    for sentence, bad in cases.items():
        with pytest.raises(BadModel, match=sentence):
            lightgbm.load(bad.encode())
    assert lightgbm.load(line("feature_infos", "a b").encode()).features == FEATURES  # what is not needed is not read
