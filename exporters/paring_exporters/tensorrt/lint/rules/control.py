"""Loop, If and Scan: what TensorRT asks of them, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ...table import Table
from ..finding import Finding
from ..origins import Origin, Origins
from ..view import Place, View

_UNROLL = "write the steps out, where their count is fixed, or put the loop around the session"


def check(view: View, origins: Origins, table: Table) -> Iterator[Finding]:
    """Control flow, each with its own condition."""
    for place in view.places:
        kind = place.node.op_type
        if kind in ("Loop", "Scan"):
            yield from _loop(place, origins)
        elif kind == "If":
            yield from _branches(place)


def _loop(place: Place, origins: Origins) -> Iterator[Finding]:
    kind = place.node.op_type
    reason = "a loop runs step by step, without CUDA graph or fusion across steps"
    yield Finding("warning", "control", place.path, kind, reason, _UNROLL)
    if kind != "Loop":
        return
    body = place.attribute("body")
    assert isinstance(body, onnx.GraphProto)
    carried = len(place.node.input) - 2
    scanned = len(body.output) - 1 - carried
    trip = origins.of(place.scope, place.input(0)) if place.input(0) else Origin.DATA
    if scanned > 0 and trip >= Origin.INPUT:
        reason = "it stacks an output a step, and how many steps there are depends on values"
        yield Finding("error", "control", place.path, kind, reason, "make the number of steps a constant")
    for before, after in zip(body.input[2:], body.output[1 : 1 + carried], strict=False):
        if _known(before) and _known(after) and _known(before) != _known(after):
            reason = f"{before.name!r} changes its shape from step to step"
            yield Finding("error", "control", place.path, kind, reason, "keep every carried value's shape")


def _branches(place: Place) -> Iterator[Finding]:
    then, other = place.attribute("then_branch"), place.attribute("else_branch")
    assert isinstance(then, onnx.GraphProto)
    assert isinstance(other, onnx.GraphProto)
    reason = "both branches are built, and which one runs is decided on the host"
    repair = "compute both and choose with Where, or fold the condition where it is constant"
    yield Finding("warning", "control", place.path, "If", reason, repair)
    for one, two in zip(then.output, other.output, strict=True):
        if one.name == two.name:
            reason = f"both branches name an output {one.name!r}"
            yield Finding("error", "control", place.path, "If", reason, "give them different names")
        shapes = _known(one), _known(two)
        if shapes[0] is not None and shapes[1] is not None and len(shapes[0]) != len(shapes[1]):
            reason = (
                f"output {one.name!r} has rank {len(shapes[0])} in one branch, {len(shapes[1])} in the other"
            )
            yield Finding("error", "control", place.path, "If", reason, "bring both to one rank")


def _known(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """A shape that is written out, with 0 for open sizes; None where there is none."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
