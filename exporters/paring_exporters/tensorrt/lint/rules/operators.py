"""Operators, domains and opsets that the release's table does not have."""

from __future__ import annotations

from collections.abc import Iterator

from ...table import Table
from ..finding import Finding
from ..origins import Origins
from ..view import DEFAULT_DOMAINS, View

# What computes the same, where there is such a thing.
INSTEAD = {
    "BitShift": "multiply or divide by a power of two; weights of shift layers export as floats"
    " (export.shift: float)",
    "Compress": "gather by indices of a fixed count (TopK with a constant K)",
    "ConvInteger": "QuantizeLinear and DequantizeLinear around Conv",
    "DFT": "a matrix product with the transform's matrix",
    "Det": "write the determinant out for the fixed size",
    "DynamicQuantizeLinear": "QuantizeLinear with scales from a calibration",
    "MatMulInteger": "QuantizeLinear and DequantizeLinear around MatMul",
    "QLinearConv": "QuantizeLinear and DequantizeLinear around Conv",
    "QLinearMatMul": "QuantizeLinear and DequantizeLinear around MatMul",
    "Unique": "move it in front of the model: its output has no fixed length",
    "MatMulNBits": "DequantizeLinear of INT4 weights, by blocks, before MatMul",
    "SimplifiedLayerNormalization": "RMSNormalization, or its Pow, ReduceMean, Sqrt and Div",
    "SkipLayerNormalization": "Add and LayerNormalization: export without ONNX Runtime's fusions",
    "FusedMatMul": "MatMul and Mul: export without ONNX Runtime's fusions",
}


def check(view: View, origins: Origins, table: Table) -> Iterator[Finding]:
    """Every operator that the release does not take, and an opset outside of its range."""
    yield from _opset(view, table)
    for place in view.places:
        node = place.node
        instead = INSTEAD.get(
            node.op_type, "write it with operators that are taken, or give TensorRT a plugin"
        )
        if node.domain not in DEFAULT_DOMAINS:
            reason = f"{node.domain}::{node.op_type} is of another domain than ONNX's own"
        elif node.op_type not in table.operators:
            reason = f"TensorRT {table.release} has no {node.op_type}"
        elif table.operators[node.op_type] is None:
            reason = f"TensorRT {table.release} does not take {node.op_type}"
        else:
            continue
        yield Finding("error", "operators", place.path, node.op_type, reason, instead)


def _opset(view: View, table: Table) -> Iterator[Finding]:
    first, last = table.opsets
    if first <= view.opset <= last:
        return
    reason = f"opset {view.opset}, and TensorRT {table.release} takes {first} to {last}"
    repair = f"export with an opset up to {last} (export.opset: {min(last, 20)})"
    yield Finding("error", "operators", "opset", "model", reason, repair)
