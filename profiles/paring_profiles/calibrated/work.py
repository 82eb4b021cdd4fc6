"""What a call does by kind of operator: calls, multiply-accumulates, bytes. Of the graph that really runs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from paring_profiles.mac_formulas import FORMULAS, Shape
from paring_profiles.macs import operator_key, with_shapes
from paring_profiles.onnx_graph import open_graph, real_shapes
from paring_profiles.scan_bodies import bodies
from paring_runtimes.errors import EngineError, MissingExtraError

if TYPE_CHECKING:
    import onnx

FEATURES = ("calls", "macs", "attention_macs", "bytes")
# group -> feature -> how much; "attention_macs" are of products of two activations.
Work = dict[str, dict[str, float]]
_CONVOLUTIONS = {"Conv", "ConvInteger", "ConvTranspose", "DeformConv", "FusedConv", "QLinearConv"}
_ACTIVATIONS = {
    "BiasGelu", "Elu", "Erf", "Exp", "FastGelu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "QuickGelu",
    "Relu", "Sigmoid", "Swish", "Tanh",
}  # fmt: skip
_VIEWS = {"Constant", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"}
_MOVES = {
    "Cast", "Concat", "ConstantOfShape", "Expand", "Gather", "GatherElements", "GatherND", "Pad", "Range",
    "ReorderInput", "ReorderOutput", "ScatterElements", "ScatterND", "Slice", "Split", "Tile", "Transpose",
    "Where",
}  # fmt: skip
_SORTS = {"ArgMax", "ArgMin", "TopK", "Unique"}
_PRODUCTS = {name for _domain, name in FORMULAS} - _CONVOLUTIONS
_BYTES = 4  # of an element whose type inference does not find


def group(operator: str) -> str:
    """The kind that an operator is timed with, by its ONNX name."""
    for name, held in (
        ("convolution", _CONVOLUTIONS),
        ("product", _PRODUCTS),
        ("activation", _ACTIVATIONS),
        ("view", _VIEWS),
        ("move", _MOVES),
        ("sort", _SORTS),
    ):
        if operator in held:
            return name
    if "Normalization" in operator:
        return "normalisation"
    return "softmax" if "Softmax" in operator else "element-wise"


def work(path: Path, *calls: Mapping[str, Shape]) -> list[Work]:
    """Work of calls with inputs of these shapes, after ONNX Runtime's own fusions.

    Raises:
        ArtifactError: not an ONNX file.
        EngineError: ONNX Runtime cannot run it.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="paring-") as folder:
        fused = _optimised(path, Path(folder))
        model = open_graph(fused)
        nodes = [node for node in model.graph.node if node.output]
        names = {name for node in nodes for name in (*node.input, *node.output) if name}
        repeated = bodies(model, lambda node: True)
        shaped = [real_shapes(fused, model, call, names, repeated=repeated) for call in calls]
    outside = [node for node in nodes if node.op_type not in ("Scan", "If", "Loop")]
    found = []
    for real, turns in shaped:
        done = [(node, real) for node in outside]
        done += [one for body in repeated for one in body.calls(turns)]
        found.append(_sum(model, done))
    return found


def _sum(model: onnx.ModelProto, calls: Iterable[tuple[onnx.NodeProto, Mapping[str, Shape]]]) -> Work:
    """Work of nodes with their shapes."""
    stored, sizes = {tensor.name for tensor in model.graph.initializer}, _element_bytes(model)
    found: Work = {}
    for node, own in calls:
        totals = found.setdefault(group(node.op_type), dict.fromkeys(FEATURES, 0.0))
        totals["calls"] += 1
        formula = FORMULAS.get(operator_key(node))
        macs = formula(with_shapes(node, own)) if formula else None
        weighted = any(name in stored for name in node.input[1:])
        totals["macs" if weighted else "attention_macs"] += macs or 0
        touched = {name for name in (*node.input, *node.output) if name}
        totals["bytes"] += sum(math.prod(own[name]) * sizes.get(name, _BYTES) for name in touched)
    return found


def _optimised(path: Path, folder: Path) -> Path:
    """The graph after fusions, but in the layout of the original."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("looking into a graph that runs", "ort") from error
    target = folder / "fused.onnx"
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    entry = "session.optimized_model_external_initializers_file_name"
    options.add_session_config_entry(entry, "fused.bin")
    try:
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise EngineError(f"{path}: ONNX Runtime cannot open it: {' '.join(str(error).split())}") from error
    return target


def _element_bytes(model: onnx.ModelProto) -> dict[str, int]:
    import onnx

    found = onnx.shape_inference.infer_shapes(model)
    values = (*found.graph.value_info, *found.graph.input, *found.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {name: onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize for name, kind in types.items() if kind}
