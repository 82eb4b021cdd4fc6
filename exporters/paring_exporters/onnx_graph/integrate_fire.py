"""`paring::integrate_fire` in ONNX: one node of its own until the graph is clean, then a Scan over the steps.

A Scan keeps the graph as small as the network, whatever the number of steps; its body is the neuron's one
step: v + x, v >= threshold, and the reset.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

DOMAIN, KIND = "paring", "IntegrateFire"


@cache
def operator() -> Any:
    """The opaque node, as onnxscript calls it."""
    from onnx.defs import OpSchema
    from onnxscript.values import Op, Opset

    parameter = OpSchema.FormalParameter
    schema = OpSchema(
        KIND,
        DOMAIN,
        1,
        inputs=[parameter(name, "T") for name in ("current", "threshold", "initial")],
        outputs=[parameter("spikes", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[
            OpSchema.Attribute("hard", OpSchema.AttrType.INT),
            OpSchema.Attribute("reset_to", OpSchema.AttrType.FLOAT),
        ],
    )
    return Op(Opset(DOMAIN, 1), KIND, schema)


def translate(current: Any, threshold: Any, initial: Any, hard: bool, reset_to: float) -> Any:
    """For the translation table."""
    return operator()(current, threshold, initial, hard=int(hard), reset_to=reset_to)


def lower(model: Any) -> int:
    """Put a Scan in the place of every opaque node of an `onnx_ir.Model`; how many there were."""
    import onnx_ir as ir

    found = [node for node in model.graph if node.domain == DOMAIN and node.op_type == KIND]
    for node in found:
        nodes, spikes = _scan(model.graph, node)
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], nodes, node.outputs, [spikes])
    if found:
        model.opset_imports.pop(DOMAIN, None)
    return len(found)


def lowered(model: Any) -> Any:
    """`lower` of a ModelProto; the same object where it has no opaque node."""
    if not any(node.domain == DOMAIN and node.op_type == KIND for node in model.graph.node):
        return model
    import onnx_ir as ir

    graph = ir.serde.deserialize_model(model)
    lower(graph)
    return ir.serde.serialize_model(graph)


def spike_names(graph: Any) -> list[str]:
    """Of a GraphProto: the spikes [T, B, C, ...] of every layer of neurons, in the order of the graph."""
    return [node.output[1] for node in graph.node if node.op_type == "Scan" and node.name.endswith(KIND)]


def _scan(graph: Any, node: Any) -> tuple[list[Any], Any]:
    import onnx_ir as ir

    current, threshold, initial = node.inputs
    name = node.outputs[0].name
    one_step = _named(ir.node("Shape", [current], attributes={"start": 1}), f"{name}/step")
    start = _named(ir.node("Expand", [initial, one_step.outputs[0]]), f"{name}/start")
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
    risen = _named(ir.node("Add", [before, arriving]), f"{name}/risen")
    fired = _named(ir.node("GreaterOrEqual", [risen.outputs[0], threshold]), f"{name}/fired")
    cast = ir.node("Cast", [fired.outputs[0]], attributes={"to": int(ir.DataType.FLOAT)})
    spikes = _named(cast, f"{name}/spike")
    if node.attributes["hard"].as_int():
        value = ir.tensor(np.array(node.attributes["reset_to"].as_float(), np.float32))
        reset = _named(ir.node("Constant", [], attributes={"value": value}), f"{name}/reset")
    else:
        reset = _named(ir.node("Sub", [risen.outputs[0], threshold]), f"{name}/reset")
    choice = ir.node("Where", [fired.outputs[0], reset.outputs[0], risen.outputs[0]])
    after = _named(choice, f"{name}/after")
    for value in (after.outputs[0], spikes.outputs[0]):
        value.type = kind
    steps = [risen, fired, spikes, reset, after]
    outputs = [after.outputs[0], spikes.outputs[0]]
    return ir.Graph([before, arriving], outputs, nodes=steps, name=f"{name}/neuron")


def _named(node: Any, name: str) -> Any:
    node.name = node.outputs[0].name = name
    return node
