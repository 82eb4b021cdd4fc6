"""Quantised values: the element types that TensorRT quantises to, and zero points, which it has not."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from ...table import Table
from ..finding import Finding
from ..origins import Origins
from ..view import DEFAULT_DOMAINS, Place, View
from .types import NAMES


def check(view: View, origins: Origins, table: Table) -> Iterator[Finding]:
    """QuantizeLinear and DequantizeLinear of types, or with zero points, that the release does not take."""
    taken = table.operators.get("DequantizeLinear") or ()
    for place in view.places:
        kind = place.node.op_type
        if kind not in ("QuantizeLinear", "DequantizeLinear") or place.node.domain not in DEFAULT_DOMAINS:
            continue
        element = _quantised(place)
        name = NAMES.get(element, TensorProto.DataType.Name(element))
        if taken and element and name not in taken:
            reason = f"values quantised to {name}, and TensorRT {table.release} lists {', '.join(taken)}"
            repair = "quantise to INT8 with zero points of 0 (export.quantize.activations: int8), biases not"
            yield Finding("error", "quantization", place.path, kind, reason, repair)
            continue
        zero = place.constant(2)
        if zero is not None and zero.astype("float64").any():
            reason = "a zero point that is not 0: TensorRT quantises symmetrically"
            repair = "quantise symmetrically (export.quantize.activations: int8)"
            yield Finding("error", "quantization", place.path, kind, reason, repair)


def _quantised(place: Place) -> int:
    """The element type on the quantised side; QuantizeLinear without a zero point makes UINT8."""
    if place.node.op_type == "DequantizeLinear":
        return place.element(place.input(0)) or 0
    told = place.attribute("output_dtype", 0)
    if isinstance(told, int) and told:
        return told
    return (place.element(place.input(2)) or 0) if place.input(2) else TensorProto.UINT8
