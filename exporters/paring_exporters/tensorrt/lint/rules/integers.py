"""64-bit integers where they cost something or do not fit: as inputs, as data that is ranked, as indices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from ...table import Table
from ..finding import Finding
from ..origins import Origin, Origins
from ..view import Place, View

_RANKED = ("TopK", "ArgMax", "ArgMin")
_INDEXED = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1}
_LARGEST = np.iinfo(np.int32).max


def check(view: View, origins: Origins, table: Table) -> Iterator[Finding]:
    """Hazards of INT64; its use for shapes and indices is TensorRT's own way, and no finding."""
    for value in view.main.graph.input:
        if value.name in view.main.initializers or value.type.tensor_type.elem_type != TensorProto.INT64:
            continue
        reason = "an INT64 input: since TensorRT 9 the caller hands over 8 bytes a number, before it 4"
        repair = "hand over int64 arrays (paring's engine checks it), or export the input as INT32"
        yield Finding("warning", "integers", value.name, "input", reason, repair)
    for place in view.places:
        yield from _ranked(place, origins)
        yield from _indices(place)


def _ranked(place: Place, origins: Origins) -> Iterator[Finding]:
    if place.node.op_type not in _RANKED or place.element(place.input(0)) != TensorProto.INT64:
        return
    if origins.of(place.scope, place.input(0)) <= Origin.SHAPE:
        return
    reason = (
        "it ranks INT64 data: before TensorRT 10 refused or cast down to INT32, since then in twice the"
        " memory of INT32"
    )
    repair = "Cast its input to INT32, where the values fit, or rank the floats they were made of"
    yield Finding("warning", "integers", place.path, place.node.op_type, reason, repair)


def _indices(place: Place) -> Iterator[Finding]:
    index = _INDEXED.get(place.node.op_type)
    value = None if index is None else place.constant(index)
    if value is None or not value.size or value.dtype.kind not in "iu":
        return
    if np.abs(value.astype(np.float64)).max() > _LARGEST:
        reason = f"an index of more than {_LARGEST}: tensors of TensorRT have at most that many elements"
        yield Finding("error", "integers", place.path, place.node.op_type, reason, "split the tensor")
