"""Find the first node whose value differs: between PyTorch and the export, or between two graphs.

Two graphs of one model share the names of most values: graph clean-up keeps those it does not fuse
away. The shared names are bisected in topological order, by running both graphs with one more output.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Difference:
    """Where two computations part."""

    between: str  # "PyTorch and the exported graph" or "the exported and the cleaned graph"
    value: str
    op_type: str
    max_abs: float

    def __str__(self) -> str:
        return (
            f"first difference between {self.between}: value {self.value!r} of {self.op_type},"
            f" max abs {self.max_abs:.3g}"
        )


def locate(
    program: Any, cleaned: Path, pixels: np.ndarray, tolerance: tuple[float, float]
) -> Difference | None:
    """The first difference on the way from PyTorch to the artifact, or None when there is none.

    Args:
        program: the `ONNXProgram` of the export.
        cleaned: the ONNX file of the artifact.
        pixels: an input on which they differ, [B, C, H, W].
        tolerance: (atol, rtol).
    """
    import onnx

    exported = program.model_proto
    feeds = {exported.graph.input[0].name: pixels}
    found = first_difference(exported, onnx.load(cleaned), feeds, tolerance)
    # PyTorch comes second: comparing its intermediate values takes minutes.
    return found or _against_torch(program, pixels, tolerance[0] + tolerance[1])


def _against_torch(program: Any, pixels: np.ndarray, limit: float) -> Difference | None:
    from torch.onnx.verification import verify_onnx_program

    makers = {output: node.op_type for node in program.model_proto.graph.node for output in node.output}
    infos = verify_onnx_program(program, (torch.from_numpy(pixels),), compare_intermediates=True)
    for info in infos:
        if min(info.max_abs_diff, info.max_rel_diff) > limit or np.isnan(info.max_abs_diff):
            kind = makers.get(info.name, "an unnamed operator")
            return Difference("PyTorch and the exported graph", info.name, kind, info.max_abs_diff)
    return None


def first_difference(
    first: Any, second: Any, feeds: dict[str, np.ndarray], tolerance: tuple[float, float]
) -> Difference | None:
    """Bisect the values that both ModelProtos compute, in the order of the first."""
    other = {output for node in second.graph.node for output in node.output}
    shared = [
        (output, node.op_type)
        for node in first.graph.node
        for output in node.output
        if output and output in other
    ]
    gaps: dict[int, float] = {}

    def differs(index: int) -> bool:
        values = [_value(model, shared[index][0], feeds) for model in (first, second)]
        if values[0].shape != values[1].shape:
            gaps[index] = float("inf")
            return True
        gaps[index] = float(np.abs(np.subtract(values[1], values[0], dtype=np.float64)).max(initial=0))
        return not np.allclose(values[1], values[0], atol=tolerance[0], rtol=tolerance[1])

    if not shared or not differs(len(shared) - 1):
        return None
    low, high = 0, len(shared) - 1  # the value at `high` differs
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if differs(middle) else (middle + 1, high)
    name, op_type = shared[high]
    return Difference("the exported and the cleaned graph", name, op_type, gaps[high])


def _value(model: Any, name: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    import onnx
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    if name not in {output.name for output in shown.graph.output}:
        shown.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    (value,) = session.run([name], feeds)
    return np.asarray(value)
