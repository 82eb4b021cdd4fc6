"""A decoder's operators in terms of ONNX, for the two opsets that its graphs use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ..onnx_graph.translations import table as shared


def table(opset: int) -> dict[Callable[..., Any], Callable[..., Any]]:
    """For `custom_translation_table` of `torch.onnx.export`."""
    own: dict[Callable[..., Any], Callable[..., Any]] = {
        torch.ops.aten.rms_norm.default: _rms_norm,
        torch.ops.aten.scaled_dot_product_attention.default: _grouped_attention,
    }
    if opset >= 24:
        own = {
            torch.ops.aten.scaled_dot_product_attention.default: _attention,
            torch.ops.paring.write_rows.default: _write_rows,
        }
    return {**shared(), **own}


def _rms_norm(x: Any, shape: Any, weight: Any, epsilon: float) -> Any:
    """In the form that ONNX Runtime fuses into one SimplifiedLayerNormalization."""
    from onnxscript import opset18 as op

    square = op.Pow(x, op.CastLike(op.Constant(value_float=2.0), x))
    mean = op.ReduceMean(square, op.Constant(value_ints=[-1]), keepdims=1)
    root = op.Sqrt(op.Add(mean, op.CastLike(op.Constant(value_float=epsilon), x)))
    return op.Mul(op.Div(x, root), weight)


def _grouped_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Softmax attention whose query heads are folded over their key head, so that no key is repeated."""
    from onnxscript import opset18 as op

    heads, groups, width = query.shape[1], key.shape[1], query.shape[3]
    factor = 1 / math.sqrt(width) if scale is None else scale
    scaled = op.Mul(query, op.CastLike(op.Constant(value_float=factor), query))
    turned = op.Transpose(key, perm=[0, 1, 3, 2])
    if heads == groups:
        weights = op.Softmax(op.Add(op.MatMul(scaled, turned), attn_mask), axis=-1)
        return op.MatMul(weights, value)
    # [B, H, S, D] -> [B, G, H/G * S, D]; scores back to [B, H, S, T], where the mask applies.
    folded = op.Reshape(scaled, op.Constant(value_ints=[0, groups, -1, width]))
    scores = op.MatMul(folded, turned)
    like = op.Concat(op.Constant(value_ints=[0, heads, -1]), op.Shape(key, start=2, end=3), axis=0)
    weights = op.Softmax(op.Add(op.Reshape(scores, like), attn_mask), axis=-1)
    grouped = op.Concat(op.Constant(value_ints=[0, groups, -1]), op.Shape(key, start=2, end=3), axis=0)
    mixed = op.MatMul(op.Reshape(weights, grouped), value)
    return op.Reshape(mixed, op.Constant(value_ints=[0, heads, -1, width]))


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """One Attention, which shares a key head among its query heads itself."""
    from onnxscript.onnx_opset import opset24 as op

    mixed, _, _, _ = op.Attention(query, key, value, attn_mask, scale=scale)
    return mixed


def _write_rows(cache: Any, rows: Any, start: Any) -> Any:
    """One TensorScatter, which a runtime does in place where input and output are one buffer."""
    from onnxscript.onnx_opset import opset24 as op

    return op.TensorScatter(cache, rows, start, axis=2)
