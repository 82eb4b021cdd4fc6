"""Exports a small function and runs it in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from paring_exporters.onnx_graph.translations import table

UNWANTED = {"NonZero", "Compress", "Unique", "Loop", "If", "ScatterND", "ScatterElements"}


class Function(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def run(
    function: Callable[..., Any],
    example: Sequence[torch.Tensor],
    inputs: Sequence[torch.Tensor],
    folder: Path,
) -> list[np.ndarray]:
    """`function` exported by `example` with an open batch, run on `inputs` of another batch size.

    Asserts that the graph holds the default domain only nothing whose shape depends on values,
    and no scatter.
    """
    batch = torch.export.Dim("batch", min=1, max=4096)
    path = folder / "function.onnx"
    program = torch.onnx.export(
        Function(function).eval(),
        tuple(example),
        dynamo=True,
        opset_version=20,
        dynamic_shapes=(tuple({0: batch} for _ in example),),
        custom_translation_table=table(),
        verbose=False,
    )
    assert program is not None
    program.save(path)
    graph = onnx.load(path)
    assert {item.domain for item in graph.opset_import if item.domain} == set()
    assert not {node.op_type for node in graph.graph.node} & UNWANTED
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    feeds = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    return session.run(None, feeds)
