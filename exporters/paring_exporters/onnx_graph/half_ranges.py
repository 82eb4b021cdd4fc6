"""Which nodes of a graph 16 bits would harm: measured on its own activations, node by node.

For each node that could be in 16 bits: the largest magnitude of what it reads and writes, against the type's
range; and its own error, that is, the node computed from its exact inputs rounded to the type, its output
rounded too, against its exact output. Errors of the nodes before it do not count against it. All nodes are
measured by one graph, which computes each of them twice.

Kept in fp32 is a node

- whose values come within a factor of 2 of the type's largest number: other images reach further;
- LayerNormalization whose deviations squared would: engines that compute it in 16 bits square them;
- whose own signal-to-noise ratio falls below `LEAST_DB`. Rounding to 11 bits alone leaves some 72 dB, to 8
  bits some 54, so that what ends 30 dB lower lost five bits more than storing it costs (cancellation,
  exponentials of large numbers, numbers below the type's smallest).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from .half_graph import FLOAT, KINDS, LARGEST, float_inputs, float_values, opset_of

HEADROOM = 2.0
LEAST_DB = {"fp16": 42.0, "bf16": 24.0}


@dataclass(frozen=True)
class Sensitivity:
    """What 16 bits do to one node.

    Attributes:
        node, operator: its name (its first output where it has none), and its operator.
        output: its first output, by which it is known in the graph.
        largest: magnitude of what it reads and writes.
        snr_db: of its own error; infinite where it makes none.
        why: why it is kept in fp32; "" where it is not.
    """

    node: str
    operator: str
    output: str
    largest: float
    snr_db: float
    why: str


def sensitivities(model: ModelProto, precision: str, batches: Iterable[np.ndarray]) -> list[Sensitivity]:
    """Measure every node that could be in `precision`, on `batches` of the graph's one input."""
    import onnxruntime

    probe, nodes = _probe(model, KINDS[precision])
    options = onnxruntime.SessionOptions()
    # A fused graph would measure other nodes, and casts back and forth be left out.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name, largest, powers = model.graph.input[0].name, np.zeros(len(nodes)), np.zeros((len(nodes), 2))
    for batch in batches:
        found = np.array(session.run(None, {name: batch}), np.float64).reshape(len(nodes), 3)
        largest = np.maximum(largest, found[:, 0])  # NaN stays
        powers += found[:, 1:]
    return [
        _judged(node, precision, float(most), float(signal), float(noise))
        for node, most, (signal, noise) in zip(nodes, largest, powers, strict=True)
    ]


def _judged(node: NodeProto, precision: str, largest: float, signal: float, noise: float) -> Sensitivity:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(10 * np.log10(np.float64(signal) / noise)) if noise != 0 else float("inf")
    limit, why = LARGEST[precision], ""
    if not largest * HEADROOM <= limit:
        why = f"values up to {largest:.3g}, {precision} ends at {limit:.5g}"
    elif node.op_type == "LayerNormalization" and not largest**2 * HEADROOM <= limit:
        why = f"squares up to {largest**2:.3g}, {precision} ends at {limit:.5g}"
    elif not ratio >= LEAST_DB[precision]:
        why = f"signal-to-noise ratio of {ratio:.1f} dB, {LEAST_DB[precision]:g} asked for"
    return Sensitivity(node.name or node.output[0], node.op_type, node.output[0], largest, ratio, why)


def _probe(model: ModelProto, kind: int) -> tuple[ModelProto, list[NodeProto]]:
    """A graph that computes of each such node its largest magnitude and powers; and the nodes."""
    floats, opset = float_values(model), opset_of(model)
    builder = _Probe(kind)
    measured = []
    for node in model.graph.node:
        builder.nodes.append(node)
        reads = [i for i in float_inputs(node, opset, kind) if node.input[i] in floats]
        writes = [name for name in node.output if name in floats]
        if reads and writes:
            builder.measure(node, reads, writes)
            measured.append(node)
    done = ModelProto()
    done.CopyFrom(model)
    del done.graph.node[:], done.graph.output[:], done.graph.value_info[:]
    done.graph.node.extend(builder.nodes)
    done.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, []) for name in builder.outputs)
    done.graph.initializer.append(helper.make_tensor("probe_flat", TensorProto.INT64, [1], [-1]))
    return done, measured


class _Probe:
    """The nodes of a measuring graph, and the scalars that it hands out."""

    def __init__(self, kind: int) -> None:
        self.nodes: list[NodeProto] = []
        self.outputs: list[str] = []
        self._kind = kind
        self._rounded: dict[str, str] = {}

    def measure(self, node: NodeProto, reads: list[int], writes: list[str]) -> None:
        """Add what measures one node."""
        prefix, again = f"probe_{len(self.outputs)}", NodeProto()
        again.CopyFrom(node)
        again.name = prefix
        again.output[:] = [f"{prefix}_{index}" if name else "" for index, name in enumerate(node.output)]
        for index in reads:
            again.input[index] = self._round(node.input[index])
        self.nodes.append(again)
        place = list(node.output).index(writes[0])
        result = self._round(again.output[place])
        error = self._add("Sub", [writes[0], result])
        both = {*(node.input[index] for index in reads), *writes}
        largest = [self._scalar("ReduceMax", self._add("Abs", [self._flat(name)])) for name in sorted(both)]
        self._out(largest[0] if len(largest) == 1 else self._add("Max", largest))
        self._out(self._scalar("ReduceSumSquare", self._flat(writes[0])))
        self._out(self._scalar("ReduceSumSquare", self._flat(error)))

    def _round(self, name: str) -> str:
        if name not in self._rounded:
            self._rounded[name] = self._add("Cast", [self._add("Cast", [name], to=self._kind)], to=FLOAT)
        return self._rounded[name]

    def _flat(self, name: str) -> str:
        return self._add("Reshape", [name, "probe_flat"])

    def _scalar(self, kind: str, name: str) -> str:
        return self._add(kind, [name], keepdims=0)

    def _out(self, name: str) -> None:
        self.outputs.append(name)

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        made = f"probe_value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [made], made, **attributes))
        return made
