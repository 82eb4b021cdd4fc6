"""The sums of products of an ONNX graph: their sizes, and the words of their operands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from paring_profiles.mac_formulas import Node, Shape


@dataclass(frozen=True)
class Product:
    """`batch` products of [m, k] by [k, n].

    Attributes:
        left, right: which inputs of the node are multiplied; the weights are on the right.
        left_words, right_words, out_words: elements of the operands and of the result, each counted once.
    """

    batch: int
    m: int
    k: int
    n: int
    left_words: int
    right_words: int
    out_words: int
    left: int = 0
    right: int = 1

    @property
    def count(self) -> int:
        """Products that are summed up."""
        return self.batch * self.m * self.k * self.n


def _matmul(node: Node, right: int = 1) -> list[Product]:
    left, weight, result = node.given(0), node.given(right), node.result()
    n = result[-1] if len(weight) > 1 else 1
    # A batch that only the left operand has is rows: the right one is used again for each.
    separate = math.prod(weight[:-2])
    rows = math.prod(result) // max(1, n * separate)
    return [_of(separate, rows, left[-1], n, left, weight, result, right=right)]


def _fused_matmul(node: Node) -> list[Product]:
    left, weight, result = node.given(0), node.given(1), node.result()
    k = left[-2 if node.number("transA") else -1]
    separate = math.prod(weight[:-2])
    rows = math.prod(result) // (result[-1] * separate)
    return [_of(separate, rows, k, result[-1], left, weight, result)]


def _gemm(node: Node) -> list[Product]:
    left, result = node.given(0), node.result()
    k = left[0 if node.number("transA") else 1]
    return [_of(1, result[0], k, result[1], left, node.given(1), result)]


def _packed(node: Node) -> list[Product]:
    left, result, n = node.given(0), node.result(), node.number("N")
    return [_of(1, math.prod(left[:-1]), left[-1], n, left, (n, left[-1]), result)]


def _conv(weight: int) -> Callable[[Node], list[Product]]:
    def products(node: Node) -> list[Product]:
        filters, result, groups = node.given(weight), node.result(), max(1, node.number("group", 1))
        pixels = result[0] * math.prod(result[2:])
        k, n = math.prod(filters[1:]), filters[0] // groups
        return [_of(groups, pixels, k, n, node.given(0), filters, result, right=weight)]

    return products


def _attention(node: Node) -> list[Product]:
    """ai.onnx Attention without a past: Q (B, heads, L, D) or (B, L, heads x D)."""
    q, k, v = node.given(0), node.given(1), node.given(2)
    if len(q) == 4:
        heads, length, width, keys, value_width = q[1], q[2], q[3], k[2], v[3]
    else:
        heads, length, keys = node.number("q_num_heads"), q[1], k[1]
        width, value_width = q[2] // heads, v[2] // node.number("kv_num_heads")
    scores = (q[0] * heads, length, keys)
    return [
        _of(q[0] * heads, length, width, keys, q, k, scores),
        _of(q[0] * heads, length, keys, value_width, scores, v, node.result(), right=2),
    ]


def _multi_head_attention(node: Node) -> list[Product] | None:
    """com.microsoft MultiHeadAttention with separate q, k, v (B, L, heads x D) and no past."""
    q, k, v = node.given(0), node.input(1), node.input(2)
    if k is None or v is None or len(q) != 3 or len(k) != 3 or node.input(6) is not None:
        return None
    heads = node.number("num_heads")
    scores = (q[0] * heads, q[1], k[1])
    return [
        _of(q[0] * heads, q[1], q[2] // heads, k[1], q, k, scores),
        _of(q[0] * heads, q[1], k[1], v[2] // heads, scores, v, node.result(), right=2),
    ]


def _of(
    batch: int, m: int, k: int, n: int, left: Shape, weights: Shape, out: Shape, right: int = 1
) -> Product:
    words = (math.prod(left), math.prod(weights), math.prod(out))
    return Product(batch, m, k, n, *words, right=right)


_MICROSOFT = "com.microsoft"
PRODUCTS: dict[tuple[str, str], Callable[[Node], list[Product] | None]] = {
    ("", "Attention"): _attention,
    ("", "Conv"): _conv(1),
    ("", "ConvInteger"): _conv(1),
    ("", "Gemm"): _gemm,
    ("", "MatMul"): _matmul,
    ("", "MatMulInteger"): _matmul,
    ("", "QLinearConv"): _conv(3),
    ("", "QLinearMatMul"): lambda node: _matmul(node, 3),
    (_MICROSOFT, "DynamicQuantizeMatMul"): _matmul,
    (_MICROSOFT, "FusedConv"): _conv(1),
    (_MICROSOFT, "FusedMatMul"): _fused_matmul,
    (_MICROSOFT, "MatMulIntegerToFloat"): _matmul,
    (_MICROSOFT, "MatMulNBits"): _packed,
    (_MICROSOFT, "MultiHeadAttention"): _multi_head_attention,
}
