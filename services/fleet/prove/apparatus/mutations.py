"""Sound models of every format, and what may become of their bytes."""

import io
import random
import re
import zipfile
from typing import Any

import numpy as np

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_ODD_NUMBERS = (
    b"0",
    b"-1",
    b"-2",
    b"1",
    b"7",
    b"255",
    b"65536",
    b"2147483647",
    b"-2147483648",
    b"1e308",
    b"1000000000",
)


def sound_models() -> dict[str, bytes]:
    """File name -> content, of five features each."""
    import lightgbm
    import skops.io
    import xgboost
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

    dice = np.random.default_rng(5)
    rows = dice.normal(size=(200, 5))
    target = rows @ np.arange(5) + dice.normal(size=200)
    forest = RandomForestRegressor(3, max_depth=3, random_state=5).fit(rows, target)
    boosted = GradientBoostingRegressor(n_estimators=3, max_depth=2, random_state=5).fit(rows, target)
    booster = xgboost.XGBRegressor(n_estimators=3, max_depth=3, n_jobs=1).fit(rows, target).get_booster()
    light = lightgbm.LGBMRegressor(n_estimators=3, num_leaves=6, n_jobs=1, verbose=-1).fit(rows, target)
    return {
        "forest.skops": bytes(skops.io.dumps(forest)),
        "model.ubj": bytes(booster.save_raw("ubj")),
        "model.txt": str(light.booster_.model_to_string()).encode(),
        "model.onnx": _onnx(forest),
        "boosted.skops": bytes(skops.io.dumps(boosted)),
        "model.json": bytes(booster.save_raw("json")),
    }


def mutate(name: str, content: bytes, dice: random.Random) -> tuple[str, bytes]:
    """What was done, and what came of it."""
    if name.endswith(".skops") and dice.random() < 0.8:  # below the archive's checksums
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        member = dice.choice(sorted(members))
        what, members[member] = _mutate(members[member], dice)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for each, body in members.items():
                archive.writestr(each, body)
        return f"{what} in {member}", packed.getvalue()
    return _mutate(content, dice)


def _mutate(content: bytes, dice: random.Random) -> tuple[str, bytes]:
    place = dice.randrange(len(content))
    kind = dice.choice(("flip", "flip", "cut", "splice", "number", "number", "word"))
    if kind == "flip":
        changed = bytearray(content)
        for _ in range(dice.choice((1, 1, 4))):
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        return kind, bytes(changed)
    if kind == "cut":
        return kind, content[:place]
    if kind == "splice":
        start = dice.randrange(len(content))
        return kind, content[:place] + content[start : start + dice.randrange(1, 200)] + content[place:]
    if kind == "word":  # eight bytes, as an index of native code is
        word = dice.choice((-1, 0, 1, 2**31 - 1, -(2**31), 2**63 - 1, 1000)).to_bytes(8, "little", signed=True)
        return kind, content[:place] + word + content[place + 8 :]
    found = list(_NUMBER.finditer(content))
    if not found:
        return "cut", content[:place]
    chosen = dice.choice(found)
    return kind, content[: chosen.start()] + dice.choice(_ODD_NUMBERS) + content[chosen.end() :]


def _onnx(forest: Any) -> bytes:
    """The forest as one ONNX operator."""
    from onnx import TensorProto, helper

    lists: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, member in enumerate(forest.estimators_):
        tree = member.tree_
        for node in range(tree.node_count):
            leaf = tree.children_left[node] == -1
            row = (
                number, node, max(int(tree.feature[node]), 0), float(tree.threshold[node]) * (not leaf),
                "LEAF" if leaf else "BRANCH_LEQ", max(int(tree.children_left[node]), 0),
                max(int(tree.children_right[node]), 0),
            )  # fmt: skip
            for name, value in zip(lists, row, strict=True):
                lists[name].append(value)
            if leaf:
                weight = float(tree.value[node].item()) / len(forest.estimators_)
                for name, value in zip(leaves, (number, node, 0, weight), strict=True):
                    leaves[name].append(value)
    attributes: dict[str, Any] = {f"nodes_{name}": values for name, values in lists.items()}
    attributes |= {f"target_{name}": values for name, values in leaves.items()}
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **attributes)
    table = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 5])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([node], "forest", [table], [answer])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
