"""ONNX: parsed and walked by us, checked by the `onnx` package, then run by ONNX Runtime on one thread.

Only operators that we name, of the standard domains, without subgraphs, functions or data outside the file.
"""

from math import prod
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadModel
from tidewheel.features.frames import Floats
from tidewheel.registry.formats.onnx_trees import check_trees
from tidewheel.registry.formats.regressor import MAX_COLUMNS, answered, refusing

MAX_BYTES = 64 * 1024 * 1024
MAX_NODES = 2_000
MAX_VALUES = 16 * 1024 * 1024  #: numbers in all constants
_WHAT = "not an ONNX regressor"
_DOMAINS = {"": 1, "ai.onnx": 1, "ai.onnx.ml": 1}
_OPERATORS = frozenset(
    {
        "Abs", "Add", "ArgMax", "Cast", "Clip", "Concat", "Constant", "Div", "Elu", "Equal", "Erf", "Exp", "Flatten",
        "Floor", "Gather", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "HardSigmoid", "Identity", "LayerNormalization",
        "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Mean", "Min", "Mul", "Neg", "Not", "Pow", "PRelu",
        "Reciprocal", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Selu", "Shape", "Sigmoid", "Sign", "Slice",
        "Softmax", "Softplus", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze", "Where",
        "ArrayFeatureExtractor", "FeatureVectorizer", "Imputer", "LinearRegressor", "Normalizer", "Scaler",
        "TreeEnsembleRegressor",
    }
)  # fmt: skip
_NUMBERS = {1: np.float32, 11: np.float64}  #: of TensorProto's types, those that features come as


def check(content: bytes) -> None:
    """Refuse what is no plain graph within limits.

    Raises:
        BadModel: says why.
    """
    with refusing(_WHAT, *_errors()):
        _Graph(content)


def load(content: bytes) -> "OnnxRegressor":
    """The model in one thread.

    Raises:
        BadModel: says why not.
    """
    import onnxruntime

    with refusing(_WHAT, *_errors()):
        graph = _Graph(content)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        model = OnnxRegressor(session, graph, len(content))
        model.outputs = model.width(graph.features or graph.least)
    return model


def _errors() -> tuple[type[Exception], ...]:
    import onnx
    from google.protobuf.message import DecodeError
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    runtime = (value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception))
    return (DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError, *runtime)


class _Graph:
    """What the file says of itself, checked."""

    def __init__(self, content: bytes) -> None:
        import onnx

        if len(content) > MAX_BYTES:
            raise BadModel(f"it has {len(content)} bytes, more than {MAX_BYTES}")
        model = onnx.load_model_from_string(content)
        strange = [each.domain for each in model.opset_import if each.domain not in _DOMAINS]
        if strange or len(model.functions) or len(model.training_info) or len(model.graph.sparse_initializer):
            raise BadModel(
                f"it has functions, training, sparse constants or operators of {strange}, which are not served"
            )
        if len(model.graph.node) > MAX_NODES:
            raise BadModel(f"it has {len(model.graph.node)} operators, more than {MAX_NODES}")
        for node in model.graph.node:
            self._check_node(node)
        held = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
        total = sum(_size(tensor) for tensor in held)
        if total > MAX_VALUES:
            raise BadModel(f"its constants hold {total} numbers, more than {MAX_VALUES}")
        onnx.checker.check_model(model)
        self.name, self.kind, self.features = _input(model.graph)
        if len(model.graph.output) != 1:
            raise BadModel(f"it has {len(model.graph.output)} outputs; a regressor has one")
        self.least = check_trees(model.graph, self.name, self.features)

    def _check_node(self, node: Any) -> None:
        if node.domain not in _DOMAINS or node.op_type not in _OPERATORS:
            raise BadModel(f"operator {node.domain[:40]}:{node.op_type[:40]} is not among those that we run")
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.ref_attr_name or attribute.tensors:
                raise BadModel(f"operator {node.op_type} carries a graph or a reference")
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise BadModel(f"operator {node.op_type} carries a sparse constant")


def _size(tensor: Any) -> int:
    """Numbers in a constant, all of which are in the file."""
    if tensor.data_location != 0 or len(tensor.external_data):
        raise BadModel(f"constant {tensor.name[:80]!r} keeps its data in another file; save the model as one file")
    if any(dimension < 0 for dimension in tensor.dims):
        raise BadModel(f"constant {tensor.name[:80]!r} has a negative size")
    count = prod(int(dimension) for dimension in tensor.dims)
    fields = (tensor.float_data, tensor.double_data, tensor.int32_data, tensor.int64_data, tensor.uint64_data)
    held = max(len(tensor.raw_data), len(tensor.string_data), *(len(field) for field in fields))
    if count > held:
        raise BadModel(f"constant {tensor.name[:80]!r} promises {count} numbers and holds {held}")
    return count


def _input(graph: Any) -> tuple[str, Any, int | None]:
    """Name, number type and columns of the one table that goes in."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type not in _NUMBERS:
        raise BadModel("its input is not one table of float32 or float64")
    dimensions = inputs[0].type.tensor_type.shape.dim
    if len(dimensions) != 2 or (dimensions[0].HasField("dim_value") and dimensions[0].dim_value != 0):
        raise BadModel("its input is not a table of any number of rows; export it with a free first dimension")
    columns = dimensions[1].dim_value if dimensions[1].HasField("dim_value") else None
    if columns is not None and not 1 <= columns <= MAX_COLUMNS:
        raise BadModel(f"it wants {columns} features, not 1 to {MAX_COLUMNS}")
    return inputs[0].name, _NUMBERS[inputs[0].type.tensor_type.elem_type], columns


class OnnxRegressor:
    """A session of ONNX Runtime."""

    def __init__(self, session: Any, graph: _Graph, size: int) -> None:
        self._session = session
        self._input, self._kind, self._least = graph.name, graph.kind, graph.least
        self.features = graph.features
        self.outputs = 0
        self.names = None
        self.nbytes = 3 * size  #: the graph, its constants packed for the processor, and the runtime's plan

    def width(self, columns: int) -> int:
        """How many outputs rows of so many columns get."""
        (answer,) = self._session.run(None, {self._input: np.zeros((1, columns), dtype=self._kind)})
        return int(np.asarray(answer).size)

    def predict(self, rows: Floats) -> Floats:
        """See `Regressor`."""
        wanted = self.features
        if rows.ndim != 2 or rows.shape[1] < self._least or wanted not in (None, rows.shape[1]):
            raise BadModel(f"the model wants {wanted or self._least} features, not rows of shape {rows.shape}")
        with refusing("the session cannot answer", *_errors()):
            (answer,) = self._session.run(None, {self._input: rows.astype(self._kind)})
            return answered(answer, rows, self.outputs)
