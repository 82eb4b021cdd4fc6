"""Operators of PyTorch that its ONNX exporter does not know, in terms of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import binary_attention


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For `custom_translation_table` of `torch.onnx.export`."""
    import paring.transforms._additive  # these register their operators
    import paring.transforms._encoder
    import paring.transforms._shift
    import paring.transforms._spikes
    import paring.transforms.token_merge

    from . import bipolar_fire, integrate_fire, shift_linear

    assert paring.transforms
    return {
        torch.ops.aten.sort.stable: _sort_stable,
        torch.ops.paring.take.default: _take,
        torch.ops.paring.nearest.default: _nearest,
        torch.ops.paring.look_up.default: _look_up,
        torch.ops.paring.binary_attention.default: binary_attention.linear_form,
        torch.ops.paring.binary_attention_quadratic.default: binary_attention.quadratic_form,
        torch.ops.paring.shift_linear.default: shift_linear.translate,
        torch.ops.paring.integrate_fire.default: integrate_fire.translate,
        torch.ops.paring.bipolar_fire.default: bipolar_fire.translate,
    }


def _sort_stable(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """By TopK over the whole row: ONNX Runtime too gives the lower index of equal values first."""
    from onnxscript import opset18 as op

    size = self.shape[dim]
    if isinstance(size, int):
        count = op.Constant(value_ints=[size])
    else:
        axis = dim % len(self.shape)
        count = op.Shape(self, start=axis, end=axis + 1)
    return op.TopK(self, count, axis=dim, largest=int(descending), sorted=1)


def _take(x: Any, index: Any) -> Any:
    """Rows of each sequence, by one GatherND over the batch."""
    from onnxscript import opset18 as op

    if len(index.shape) == 2:
        index = op.Unsqueeze(index, op.Constant(value_ints=[-1]))
    return op.GatherND(x, index, batch_dims=1)


def _look_up(table: Any, index: Any) -> Any:
    from onnxscript import opset18 as op

    return op.Gather(table, index, axis=0)


def _nearest(scores: Any) -> Any:
    from onnxscript import opset18 as op

    return op.TopK(scores, op.Constant(value_ints=[1]), axis=-1, largest=1, sorted=1)
