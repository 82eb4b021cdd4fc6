"""`paring::integrate_fire` in ONNX: one node of its own until the graph is clean, then a Scan over the steps.

A Scan keeps the graph as small as the network, whatever the number of steps; its body is the neuron's one
step: v + x, v >= threshold, and the reset.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from .scans import constant, named, opaque

KIND = "IntegrateFire"


@cache
def operator() -> Any:
    """The opaque node, as onnxscript calls it."""
    from onnx.defs import OpSchema

    attributes = (
        OpSchema.Attribute("hard", OpSchema.AttrType.INT),
        OpSchema.Attribute("reset_to", OpSchema.AttrType.FLOAT),
    )
    return opaque(KIND, ("current", "threshold", "initial"), attributes)


def translate(current: Any, threshold: Any, initial: Any, hard: bool, reset_to: float) -> Any:
    """For the translation table."""
    return operator()(current, threshold, initial, hard=int(hard), reset_to=reset_to)


def scan(graph: Any, node: Any) -> tuple[list[Any], Any]:
    """The nodes in the place of an opaque one, and the spikes."""
    import onnx_ir as ir

    current, threshold, initial = node.inputs
    name = node.outputs[0].name
    one_step = named(ir.node("Shape", [current], attributes={"start": 1}), f"{name}/step")
    start = named(ir.node("Expand", [initial, one_step.outputs[0]]), f"{name}/start")
    body = _body(graph, name, node, threshold)
    scan = ir.node(
        "Scan",
        [start.outputs[0], current],
        attributes={"body": body, "num_scan_inputs": 1},
        num_outputs=2,
        name=f"{name}/{KIND}",
    )
    scan.outputs[0].name, scan.outputs[1].name = f"{name}/membrane", f"{name}/spikes"
    scan.outputs[1].type = current.type
    return [one_step, start, scan], scan.outputs[1]


def _body(graph: Any, name: str, node: Any, threshold: Any) -> Any:
    """The graph of one step: membrane and current -> membrane and spikes."""
    import onnx_ir as ir

    kind = ir.TensorType(ir.DataType.FLOAT)
    before, arriving = (ir.Value(name=f"{name}/{one}", type=kind) for one in ("before", "arriving"))
    risen = named(ir.node("Add", [before, arriving]), f"{name}/risen")
    fired = named(ir.node("GreaterOrEqual", [risen.outputs[0], threshold]), f"{name}/fired")
    cast = ir.node("Cast", [fired.outputs[0]], attributes={"to": int(ir.DataType.FLOAT)})
    spikes = named(cast, f"{name}/spike")
    if node.attributes["hard"].as_int():
        reset = constant(node.attributes["reset_to"].as_float(), f"{name}/reset")
    else:
        reset = named(ir.node("Sub", [risen.outputs[0], threshold]), f"{name}/reset")
    choice = ir.node("Where", [fired.outputs[0], reset.outputs[0], risen.outputs[0]])
    after = named(choice, f"{name}/after")
    for value in (after.outputs[0], spikes.outputs[0]):
        value.type = kind
    steps = [risen, fired, spikes, reset, after]
    outputs = [after.outputs[0], spikes.outputs[0]]
    return ir.Graph([before, arriving], outputs, nodes=steps, name=f"{name}/neuron")
