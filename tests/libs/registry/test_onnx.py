from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.libs.registry.models import FEATURES, forest, rows, target, targets
from tidewheel.contracts.errors import BadModel
from tidewheel.registry.formats import onnx


@cache
def onnx_bytes(kind: str = "forest") -> bytes:
    """What a user's converter makes of a scikit-learn model."""
    from skl2onnx import to_onnx

    return bytes(to_onnx(original(kind), rows()[:1].astype(np.float32)).SerializeToString())


@cache
def original(kind: str) -> Any:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "forest":
        return forest()
    if kind == "two":
        return RandomForestRegressor(3, max_depth=3, random_state=1).fit(rows(), targets())
    last = Ridge() if kind == "line" else MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, solver="lbfgs", tol=1e9)
    return make_pipeline(StandardScaler(), last).fit(rows(), target())


def test_onnx_answers_as_the_model_that_it_was_made_of() -> None:
    """To 1e-6 of the largest answer, which is what 32 bits leave."""
    table = rows().astype(np.float32)
    for kind in ("forest", "two", "line", "net"):
        model = onnx.load(onnx_bytes(kind))
        expected = np.asarray(original(kind).predict(table), dtype=np.float64).reshape(len(table), -1)

        assert np.abs(model.predict(table.astype(np.float64)) - expected).max() <= 1e-6 * np.abs(expected).max(), kind
        assert (model.features, model.outputs) == (FEATURES, expected.shape[1])


def edited(change: Callable[[Any], object], kind: str = "forest") -> bytes:
    import onnx as package

    model = package.load_model_from_string(onnx_bytes(kind))
    change(model)
    return bytes(model.SerializeToString())


def outside(model: Any) -> None:
    """The first constant's data lies in another file."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="/etc/passwd")


def listed(name: str, place: int, value: int) -> Callable[[Any], None]:
    """One number of a tree ensemble's lists."""

    def change(model: Any) -> None:
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == name:
                    attribute.ints[place] = value

    return change


def looping(model: Any) -> None:
    """An operator that carries a graph of its own."""
    import onnx as package

    node = model.graph.node[0]
    node.op_type, node.domain = "Identity", ""
    node.attribute.append(package.helper.make_attribute("body", package.GraphProto(name="inner")))


def test_what_the_runtime_may_not_be_asked_to_run() -> None:
    """Data elsewhere, foreign operators, graphs in graphs, trees that cannot be walked, tables of another shape."""
    cases = {
        "another file": edited(outside, "net"),
        "promises": edited(lambda model: model.graph.initializer[0].dims.__setitem__(0, 10**12), "net"),
        "not among those": edited(lambda model: setattr(model.graph.node[0], "op_type", "Loop")),
        "operators of": edited(lambda model: model.opset_import.add(domain="com.evil", version=1)),
        "functions": edited(lambda model: model.functions.add(name="f")),
        "a graph": edited(looping),
        "is not one of its": edited(listed("nodes_truenodeids", 0, 10**6)),
        "two parents": edited(listed("nodes_truenodeids", 0, 2)),
        "splits by a column": edited(listed("nodes_featureids", 0, FEATURES)),
        "no leaf": edited(listed("target_nodeids", 0, 0)),
        "not there": edited(listed("target_ids", 0, 9)),
        "count its nodes": edited(listed("nodes_nodeids", 1, 7)),
        "2 outputs": edited(lambda model: model.graph.output.add().CopyFrom(model.graph.output[0])),
        "one table": edited(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 8)),
        "free first dimension": edited(
            lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1)
        ),
        "not an ONNX regressor": b"\x80\x04\x95 a pickle",
    }
    for sentence, bad in cases.items():
        with pytest.raises(BadModel, match=sentence):
            onnx.load(bad)


def test_rows_of_another_width_are_refused() -> None:
    """Also where the file leaves the number of features open, a tree's columns must be there."""
    free = edited(lambda model: model.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value"))
    model = onnx.load(free)

    assert model.features is None
    assert np.array_equal(model.predict(rows()), onnx.load(onnx_bytes()).predict(rows()))
    for loaded in (model, onnx.load(onnx_bytes())):
        with pytest.raises(BadModel, match="wants 5 features"):
            loaded.predict(rows()[:, :3])
