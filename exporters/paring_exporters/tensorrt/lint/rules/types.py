"""Element types outside of the release's table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from onnx import TensorProto

from ...table import Table
from ..finding import Finding
from ..origins import Origin, Origins
from ..view import DEFAULT_DOMAINS, Place, View

NAMES: dict[int, str] = {
    TensorProto.FLOAT: "FP32", TensorProto.FLOAT16: "FP16", TensorProto.BFLOAT16: "BF16",
    TensorProto.INT32: "INT32", TensorProto.INT64: "INT64", TensorProto.INT8: "INT8",
    TensorProto.INT4: "INT4", TensorProto.UINT8: "UINT8", TensorProto.BOOL: "BOOL",
    TensorProto.FLOAT8E4M3FN: "FP8", TensorProto.FLOAT4E2M1: "FP4",
}  # fmt: skip
# Which input the table's types are of, where it is not the first; -1 is the output.
_JUDGED = {"Where": 1, "OneHot": 2, "ConstantOfShape": -1, "Constant": -1, "Scan": -1, "If": -1, "Loop": -1}
_PRODUCTS = ("Gemm", "MatMul", "Conv", "ConvTranspose")  # refused; elsewhere the parser may take more
# The parser takes more of these than the table says (a mask is of booleans, say), or only casts.
_WIDER = frozenset(
    (
        *("NonZero", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"),
        *("Shape", "Size", "Identity", "If", "Loop"),
    )
)


def check(view: View, origins: Origins, table: Table) -> Iterator[Finding]:
    """Inputs and outputs of types that TensorRT has not, and operators on types that the table leaves out."""
    for value, word in [(v, "input") for v in view.main.graph.input] + [
        (v, "output") for v in view.main.graph.output
    ]:
        element = value.type.tensor_type.elem_type
        if value.name not in view.main.initializers and element and element not in NAMES:
            yield _untaken("types", value.name, word, element)
    for place in view.places:
        taken = table.operators.get(place.node.op_type)
        if place.node.domain not in DEFAULT_DOMAINS or taken is None:
            continue
        element = _judged(place)
        if element is None:
            continue
        if element not in NAMES:
            yield _untaken("types", place.path, place.node.op_type, element)
        elif (
            place.node.op_type not in _WIDER
            and NAMES[element] not in taken
            and not _known_before(place, origins)
        ):
            reason = f"{NAMES[element]}, and TensorRT {table.release} lists {', '.join(taken)}"
            kind = place.node.op_type
            severity: Literal["warning", "error"] = "error" if kind in _PRODUCTS else "warning"
            yield Finding(severity, "types", place.path, kind, reason, f"Cast its input to {taken[0]}")


def _known_before(place: Place, origins: Origins) -> bool:
    """Arithmetic on constants and shapes runs on the host, where every operator takes integers."""
    return all(origins.of(place.scope, name) <= Origin.SHAPE for name in place.node.input)


def _judged(place: Place) -> int | None:
    index = _JUDGED.get(place.node.op_type, 0)
    if index < 0 or not place.node.input:
        return place.element(place.node.output[0])
    return place.element(place.input(index))


def _untaken(rule: str, path: str, operator: str, element: int) -> Finding:
    name = TensorProto.DataType.Name(element)
    if element == TensorProto.DOUBLE:
        reason = "DOUBLE: TensorRT casts it to FP32, and clamps what does not fit"
        return Finding("warning", rule, path, operator, reason, "export the model in fp32")
    return Finding("error", rule, path, operator, f"TensorRT has no type {name}", "Cast it to INT32 or FP32")
