"""What layers of neurons share in ONNX: an opaque node until the graph is clean, then a Scan over steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DOMAIN = "paring"
FIRES = "Fire"  # how the names of such Scans end; their last output is the spikes


def opaque(kind: str, inputs: Sequence[str], attributes: Sequence[Any] = ()) -> Any:
    """The node as onnxscript calls it: fp32 tensors -> `spikes`."""
    from onnx.defs import OpSchema
    from onnxscript.values import Op, Opset

    parameter = OpSchema.FormalParameter
    schema = OpSchema(
        kind,
        DOMAIN,
        1,
        inputs=[parameter(name, "T") for name in inputs],
        outputs=[parameter("spikes", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=list(attributes),
    )
    return Op(Opset(DOMAIN, 1), kind, schema)


def named(node: Any, name: str) -> Any:
    """The node, it and its one output with a name."""
    node.name = node.outputs[0].name = name
    return node


def constant(value: float, name: str) -> Any:
    """A node that gives a number."""
    import onnx_ir as ir

    return named(ir.node("Constant", [], attributes={"value": ir.tensor(np.array(value, np.float32))}), name)


def spike_names(graph: Any) -> list[str]:
    """Of a GraphProto: the spikes [T, B, C, ...] of every layer of neurons, in the order in which they ran.

    Clean-up may put a graph's nodes into another order; PyTorch numbered the names as it ran them.
    """
    scans = [node for node in graph.node if node.op_type == "Scan" and node.name.endswith(FIRES)]
    names = [node.name.partition("/")[0] for node in scans]
    numbers = [int(end) if (end := name.rpartition("_")[2]).isdigit() else 0 for name in names]
    return [scans[at].output[-1] for at in sorted(range(len(scans)), key=numbers.__getitem__)]
