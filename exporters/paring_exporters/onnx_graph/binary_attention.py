"""Binary attention in terms of ONNX: bits become numbers, since ONNX has no product of bits."""

from __future__ import annotations

import math
from typing import Any


def linear_form(qb: Any, kb: Any, v: Any) -> Any:
    """0.5 v + (1/pi) q_b (k_b^T v)."""
    from onnxscript import opset18 as op

    q, k = op.CastLike(qb, v), op.CastLike(kb, v)
    return _sum(v, op.MatMul(q, op.MatMul(op.Transpose(k, perm=(0, 1, 3, 2)), v)))


def quadratic_form(qb: Any, kb: Any, v: Any) -> Any:
    """0.5 v + (1/pi) (q_b k_b^T) v."""
    from onnxscript import opset18 as op

    q, k = op.CastLike(qb, v), op.CastLike(kb, v)
    return _sum(v, op.MatMul(op.MatMul(q, op.Transpose(k, perm=(0, 1, 3, 2))), v))


def _sum(v: Any, products: Any) -> Any:
    from onnxscript import opset18 as op

    half, share = (op.CastLike(op.Constant(value_float=number), v) for number in (0.5, 1 / math.pi))
    return op.Add(op.Mul(v, half), op.Mul(products, share))
