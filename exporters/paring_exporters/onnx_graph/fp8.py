"""An ONNX graph whose products read fp8 (E4M3FN): QuantizeLinear and DequantizeLinear around them.

The form that TensorRT takes: scales without zero points, 448 (the type's largest number) at the largest
magnitude of an activation over calibration images, and of a weight, by output. Ranges are found by
onnxruntime.quantization's calibration; its own fp8 form is not used, since it knows one calibration alone
(by standard deviations), and rounds to the type without saturating what lies outside.

FP8 FORMATS FOR DEEP LEARNING, https://arxiv.org/abs/2209.05433
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from paring_runtimes.errors import ExportError

from .calibration import ranges
from .half_graph import opset_of

LARGEST = 448.0
LEAST_OPSET = 19  # the first whose QuantizeLinear makes fp8
KIND = TensorProto.FLOAT8E4M3FN


def in_fp8(
    model: ModelProto,
    file: Path,
    batches: Sequence[np.ndarray],
    method: Any,
    excluded: Collection[str],
    per_channel: bool,
) -> ModelProto:
    """The graph with every product of a constant weight in fp8.

    Args:
        model: in fp32, with one input.
        file: where it lies.
        batches: calibration inputs.
        method: `onnxruntime.quantization.CalibrationMethod`: what is taken for an activation's range.
        excluded: names of products that stay as they are.
        per_channel: a scale for every output of a weight, otherwise one for all.

    Raises:
        ExportError: the graph's opset has no fp8.
    """
    opset = opset_of(model)
    if opset < LEAST_OPSET:
        raise ExportError(f"fp8 needs opset {LEAST_OPSET}; export.opset is {opset}")
    weights = {one.name: one for one in model.graph.initializer}
    chosen = [
        node
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights and node.name not in excluded
    ]
    inputs = {node.input[0] for node in chosen}
    largest = _magnitudes(file, model.graph.input[0].name, batches, method, inputs)
    done = ModelProto()
    done.CopyFrom(model)
    del done.graph.node[:]
    writer = _Writer(done, weights)
    for node in model.graph.node:
        copy = done.graph.node.add()
        copy.CopyFrom(node)
        if any(node is one for one in chosen):
            done.graph.node.pop()
            copy.input[0] = writer.activation(node.input[0], largest[node.input[0]])
            copy.input[1] = writer.weight(node, per_channel)
            done.graph.node.append(copy)
    read = {name for node in done.graph.node for name in node.input}
    stale = [one for one in done.graph.initializer if one.name not in read]
    for one in stale:
        done.graph.initializer.remove(one)
    return done


class _Writer:
    """Adds nodes and constants to a model; what several products read is quantised once."""

    def __init__(self, model: ModelProto, weights: dict[str, TensorProto]) -> None:
        self._graph, self._weights = model.graph, weights
        self._done: dict[object, str] = {}
        self._graph.initializer.append(_constant(np.zeros((), np.float32), "fp8_zero", KIND))

    def activation(self, name: str, largest: float) -> str:
        """The name of an activation that went through fp8."""
        if name not in self._done:
            scale = np.float32(max(largest, float(np.finfo(np.float32).tiny)) / LARGEST)
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(scale), f"{name}_fp8_scale"))
            self._add("QuantizeLinear", [name, f"{name}_fp8_scale", "fp8_zero"], f"{name}_fp8")
            self._add("DequantizeLinear", [f"{name}_fp8", f"{name}_fp8_scale", "fp8_zero"], f"{name}_of_fp8")
            self._done[name] = f"{name}_of_fp8"
        return self._done[name]

    def weight(self, node: NodeProto, per_channel: bool) -> str:
        """The name of a weight that is stored in fp8."""
        name = node.input[1]
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        axis = 0 if transposed else 1
        if (name, axis) not in self._done:
            values = numpy_helper.to_array(self._weights[name])
            per_channel = per_channel and values.ndim == 2
            over = 1 - axis if per_channel else None
            magnitude: Any = np.abs(values).max(axis=over, keepdims=per_channel)
            scale: Any = np.maximum(magnitude, np.finfo(np.float32).tiny) / np.float32(LARGEST)
            made = f"{name}_fp8_{axis}"
            zeros = np.zeros(scale.size if per_channel else (), np.float32)
            self._graph.initializer.extend((
                _constant(values / scale, made, KIND),
                numpy_helper.from_array(scale.reshape(zeros.shape).astype(np.float32), f"{made}_scale"),
                _constant(zeros, f"{made}_zero", KIND),
            ))  # fmt: skip
            told = {"axis": axis} if per_channel else {}
            self._add("DequantizeLinear", [made, f"{made}_scale", f"{made}_zero"], f"{made}_wide", **told)
            self._done[name, axis] = f"{made}_wide"
        return self._done[name, axis]

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._graph.node.append(helper.make_node(kind, inputs, [output], output, **attributes))


def _constant(values: np.ndarray, name: str, kind: int) -> TensorProto:
    return numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(kind)), name)


def _magnitudes(
    file: Path, name: str, batches: Sequence[np.ndarray], method: Any, names: Collection[str]
) -> dict[str, float]:
    """The largest magnitude of activations over the batches, as the method finds it."""
    found = ranges(file, name, batches, method, ("MatMul", "Gemm"))
    return {one: max(abs(edge) for edge in found[one]) for one in names}
