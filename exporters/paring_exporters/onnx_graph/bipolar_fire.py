"""`paring::bipolar_fire` in ONNX: a Scan whose body is one step of an ST-BIF neuron.

State: the membrane in thresholds, and by how far the tracer may still rise and fall.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from .scans import constant, named, opaque

KIND = "BipolarFire"


@cache
def operator() -> Any:
    """The opaque node, as onnxscript calls it."""
    return opaque(KIND, ("current", "gain", "lowest", "highest"))


def translate(current: Any, gain: Any, lowest: Any, highest: Any) -> Any:
    """For the translation table."""
    return operator()(current, gain, lowest, highest)


def scan(graph: Any, node: Any) -> tuple[list[Any], Any]:
    """The nodes in the place of an opaque one, and the spikes."""
    import onnx_ir as ir

    current, gain, lowest, highest = node.inputs
    name = node.outputs[0].name
    one_step = named(ir.node("Shape", [current], attributes={"start": 1}), f"{name}/step")
    half = constant(0.5, f"{name}/half")
    starts = [
        named(ir.node("Expand", [value, one_step.outputs[0]]), f"{name}/{what}_start")
        for what, value in (("membrane", half.outputs[0]), ("up", highest), ("down", lowest))
    ]
    found = ir.node(
        "Scan",
        [*(start.outputs[0] for start in starts), current],
        attributes={"body": _body(name, gain), "num_scan_inputs": 1},
        num_outputs=4,
        name=f"{name}/{KIND}",
    )
    for value, what in zip(found.outputs, ("membrane", "up", "down", "spikes"), strict=True):
        value.name = f"{name}/{what}"
    found.outputs[3].type = current.type
    return [one_step, half, *starts, found], found.outputs[3]


def _body(name: str, gain: Any) -> Any:
    """The graph of one step: membrane, up, down and current -> the three after it, and spikes."""
    import onnx_ir as ir

    kind = ir.TensorType(ir.DataType.FLOAT)
    before = [ir.Value(name=f"{name}/{one}", type=kind) for one in ("v", "u", "d", "arriving")]
    membrane, up, down, arriving = before
    gained = named(ir.node("Mul", [arriving, gain]), f"{name}/gained")
    risen = named(ir.node("Add", [membrane, gained.outputs[0]]), f"{name}/risen")
    whole = named(ir.node("Floor", [risen.outputs[0]]), f"{name}/whole")
    ends = [constant(end, f"{name}/{what}") for end, what in ((-1.0, "least"), (1.0, "most"))]
    one = named(ir.node("Clip", [whole.outputs[0], *(end.outputs[0] for end in ends)]), f"{name}/one")
    at_most = named(ir.node("Min", [one.outputs[0], up]), f"{name}/at_most")
    spike = named(ir.node("Max", [at_most.outputs[0], down]), f"{name}/spike")
    after = [
        named(ir.node("Sub", [value, spike.outputs[0]]), f"{name}/{what}_after")
        for value, what in ((risen.outputs[0], "v"), (up, "u"), (down, "d"))
    ]
    outputs = [*(step.outputs[0] for step in after), spike.outputs[0]]
    for value in outputs:
        value.type = kind
    nodes = [gained, risen, whole, *ends, one, at_most, spike, *after]
    return ir.Graph(before, outputs, nodes=nodes, name=f"{name}/neuron")
