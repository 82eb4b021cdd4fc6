"""Operators of PyTorch that its ONNX exporter does not know, in terms of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For `custom_translation_table` of `torch.onnx.export`."""
    import paring.transforms  # registers its operators

    assert paring.transforms
    return {torch.ops.aten.sort.stable: _sort_stable, torch.ops.paring.take.default: _take}


def _sort_stable(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """By TopK over the whole row: ONNX Runtime too gives the lower index of equal values first."""
    from onnxscript import opset18 as op

    count = op.Constant(value_ints=[int(self.shape[dim])])
    return op.TopK(self, count, axis=dim, largest=int(descending), sorted=1)


def _take(x: Any, index: Any) -> Any:
    """Rows of each sequence, by one GatherND over the batch."""
    from onnxscript import opset18 as op

    last = op.Constant(value_ints=[-1])
    return op.GatherND(x, op.Unsqueeze(index, last), batch_dims=1)
