"""Tiny models of every format, trained in place on the same few hundred rows."""

from functools import cache
from typing import Any

import numpy as np

from tidewheel.features.frames import Floats

FEATURES = 5


@cache
def rows() -> Floats:
    """[300, 5]."""
    return np.random.default_rng(7).normal(size=(300, FEATURES))


@cache
def target() -> Floats:
    """[300]."""
    noise = np.random.default_rng(8).normal(size=len(rows()))
    return np.asarray(rows() @ np.arange(FEATURES) + noise)


def targets() -> Floats:
    """[300, 2]."""
    return np.column_stack([target(), -target()])


def skops_bytes(estimator: Any) -> bytes:
    """A fitted estimator as its owner would save it."""
    import skops.io

    return bytes(skops.io.dumps(estimator))


@cache
def forest() -> Any:
    """A fitted forest of five trees."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(n_estimators=5, max_depth=4, random_state=7).fit(rows(), target())


@cache
def onnx_line(slope: float = 1.0) -> bytes:
    """`slope` times the mean of five features; where the format does not matter, for no other is tried as quickly."""
    from onnx import TensorProto, helper

    line = helper.make_node(
        "LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", coefficients=[slope / FEATURES] * FEATURES
    )
    wide = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])
    narrow = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([line], "line", [wide], [narrow]), opset_imports=versions, ir_version=8)
    return bytes(model.SerializeToString())
