"""Ranks indices as 32-bit integers: TopK of INT64 whose values are positions in a tensor.

TensorRT's tensors have at most 2^31-1 elements, so that every position fits.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from .view import View, constant, element_type

# Operators that hand values on without making new ones, with the inputs that values come from.
_PASSED_ON = {
    "Gather": 1, "GatherElements": 1, "GatherND": 1, "Slice": 1, "Reshape": 1, "Squeeze": 1, "Unsqueeze": 1,
    "Transpose": 1, "Expand": 1, "Tile": 1, "Identity": 1, "Split": 1, "Flatten": 1, "Cast": 1,
    "Concat": None,
}  # fmt: skip
_LARGEST = np.iinfo(np.int32).max


def narrowed(model: onnx.ModelProto) -> list[str]:
    """Put casts around every such TopK of the main graph, in place; a line for each."""
    view = View(model)
    ranking = [
        node.output[0]
        for node in view.main.graph.node
        if node.op_type == "TopK"
        and element_type(view.main, node.input[0]) == TensorProto.INT64
        and _positions(view, node.input[0])
    ]
    done, nodes = [], []
    for node in model.graph.node:
        if node.op_type != "TopK" or node.output[0] not in ranking:
            nodes.append(node)
            continue
        wide = node.output[0]
        narrow_in, narrow_out = f"{wide}_int32_in", f"{wide}_int32"
        nodes.append(onnx.helper.make_node("Cast", [node.input[0]], [narrow_in], to=TensorProto.INT32))
        node.input[0], node.output[0] = narrow_in, narrow_out
        nodes.append(node)
        nodes.append(onnx.helper.make_node("Cast", [narrow_out], [wide], to=TensorProto.INT64))
        done.append(f"{node.name or wide}: ranks its indices as INT32")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return done


def _positions(view: View, name: str) -> bool:
    """Whether every value is a position in a tensor, or a constant that INT32 holds."""
    node = view.main.producers.get(name)
    if node is None or node.op_type == "Constant":
        value = constant(view.main, name)
        return (
            value is not None and value.size > 0 and bool(np.abs(value.astype(np.float64)).max() <= _LARGEST)
        )
    if node.op_type in ("ArgMax", "ArgMin", "NonZero"):
        return True
    if node.op_type == "TopK":
        return name == node.output[1] or _positions(view, node.input[0])
    if node.op_type == "Cast" and element_type(view.main, node.input[0]) == TensorProto.INT32:
        return True
    if node.op_type not in _PASSED_ON:
        return False
    return all(_positions(view, one) for one in node.input[: _PASSED_ON[node.op_type]])
