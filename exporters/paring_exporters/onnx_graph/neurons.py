"""Opaque layers of neurons become Scans, whatever their kind, once the graph is clean."""

from __future__ import annotations

from typing import Any

from . import bipolar_fire, integrate_fire
from .scans import DOMAIN

SCANS = {module.KIND: module.scan for module in (integrate_fire, bipolar_fire)}


def lower(model: Any) -> int:
    """Put a Scan in the place of every opaque node of an `onnx_ir.Model`; how many there were."""
    import onnx_ir as ir

    found = [node for node in model.graph if node.domain == DOMAIN and node.op_type in SCANS]
    for node in found:
        nodes, spikes = SCANS[node.op_type](model.graph, node)
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], nodes, node.outputs, [spikes])
    if found:
        model.opset_imports.pop(DOMAIN, None)
    return len(found)


def lowered(model: Any) -> Any:
    """`lower` of a ModelProto; the same object where it has no opaque node."""
    if not any(node.domain == DOMAIN and node.op_type in SCANS for node in model.graph.node):
        return model
    import onnx_ir as ir

    graph = ir.serde.deserialize_model(model)
    lower(graph)
    return ir.serde.serialize_model(graph)
