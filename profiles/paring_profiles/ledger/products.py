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


def _quantised_gemm(node: Node) -> list[Product]:
    left, weight, result = node.given(0), node.given(3), node.result()
    k = left[0 if node.number("transA") else 1]
    return [_of(1, result[0], k, result[1], left, weight, result, right=3)]


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


def _conv_transpose(node: Node) -> list[Product]:
    """Each input pixel goes into M / group x kernel sums: weight (C, M / group, kernel...)."""
    given, weight, groups = node.given(0), node.given(1), max(1, node.number("group", 1))
    pixels = given[0] * math.prod(given[2:])
    k, n = given[1] // groups, math.prod(weight[1:])
    return [_of(groups, pixels, k, n, given, weight, node.result())]


def _einsum(node: Node) -> list[Product] | None:
    """Two operands: labels of both and of the result are a batch, of both alone are summed over."""
    terms, _, result = bytes(node.attributes["equation"]).decode().replace(" ", "").partition("->")
    both = terms.split(",")
    if len(both) != 2 or not result or "." in terms:
        return [] if len(both) == 1 else None
    left, right = both
    sizes = dict(zip(left + right, node.given(0) + node.given(1), strict=True))
    groups = {"batch": 1, "m": 1, "k": 1, "n": 1}
    for label, size in sizes.items():
        if label not in result:
            groups["k"] *= size
        else:
            groups["batch" if label in left and label in right else "m" if label in left else "n"] *= size
    batch, m, k, n = (groups[name] for name in ("batch", "m", "k", "n"))
    return [_of(batch, m, k, n, node.given(0), node.given(1), node.result())]


def _recurrent(node: Node) -> list[Product]:
    """LSTM, GRU, RNN: W (directions, gates x H, I) at once, R (directions, gates x H, H) step by step."""
    given, w, r = node.given(0), node.given(1), node.given(2)
    rows, state = given[0] * given[1], (*given[:2], w[0], r[2])
    outs = (*given[:2], *w[:2])
    return [
        _of(w[0], rows, w[2], w[1], given, w, outs),
        _of(r[0], rows, r[2], r[1], state, r, outs, right=2),
    ]


def _attention(node: Node) -> list[Product]:
    """ai.onnx Attention: Q (B, heads, L, D) or (B, L, heads x D), K and V alike, and perhaps past ones."""
    q, k, v, past = node.given(0), node.given(1), node.given(2), node.input(4)
    if len(q) == 4:
        heads, length, width, keys, value_width = q[1], q[2], q[3], k[2], v[3]
    else:
        heads, length, keys = node.number("q_num_heads"), q[1], k[1]
        width, value_width = q[2] // heads, v[2] // node.number("kv_num_heads")
    keys += past[2] if past else 0
    return _scores(q[0] * heads, length, width, keys, value_width, (q, k, v, node.result()), (1, 2))


def _packed_attention(past: int) -> Callable[[Node], list[Product]]:
    """com.microsoft Attention and QAttention: X (B, S, D) by W (D, q + k + v), then attention."""

    def products(node: Node) -> list[Product]:
        given, weight, memory = node.given(0), node.given(1), node.input(past)
        batch, length, width = given
        sizes: list[int] = node.attributes.get("qkv_hidden_sizes") or [weight[1] // 3] * 3
        heads = node.number("num_heads")
        keys = length + (memory[3] if memory else 0)
        shapes = ((batch, length, sizes[0]), (batch, keys, sizes[1]), (batch, keys, sizes[2]), node.result())
        return [
            _of(1, batch * length, width, weight[1], given, weight, (batch, length, weight[1])),
            *_scores(batch * heads, length, sizes[0] // heads, keys, sizes[2] // heads, shapes, (0, 0)),
        ]

    return products


def _grouped_attention(node: Node) -> list[Product] | None:
    """com.microsoft GroupQueryAttention; its present keys (B, kv heads, T, H) say how many."""
    q, heads, kv_heads = node.given(0), node.number("num_heads"), node.number("kv_num_heads")
    present = node.outputs[1] if len(node.outputs) > 1 else None
    if present is None:
        return None
    head = q[2] // (heads + 2 * kv_heads if node.input(1) is None else heads)
    shapes = ((q[0], q[1], heads * head), present, present, node.result())
    return _scores(q[0] * heads, q[1], head, present[2], head, shapes, (0, 0))


def _scores(
    batch: int,
    length: int,
    width: int,
    keys: int,
    value_width: int,
    shapes: tuple[Shape, Shape, Shape, Shape],
    rights: tuple[int, int],
) -> list[Product]:
    """Both products of attention; `shapes` of queries, keys, values and result."""
    q, k, v, result = shapes
    scores = (batch, length, keys)
    return [
        _of(batch, length, width, keys, q, k, scores, right=rights[0]),
        _of(batch, length, keys, value_width, scores, v, result, right=rights[1]),
    ]


def _multi_head_attention(node: Node) -> list[Product] | None:
    """com.microsoft MultiHeadAttention with separate q, k, v (B, L, heads x D) and no past."""
    q, k, v = node.given(0), node.input(1), node.input(2)
    if k is None or v is None or len(q) != 3 or len(k) != 3 or node.input(6) is not None:
        return None
    heads = node.number("num_heads")
    shapes = (q, k, v, node.result())
    return _scores(q[0] * heads, q[1], q[2] // heads, k[1], v[2] // heads, shapes, (1, 2))


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
    ("", "ConvTranspose"): _conv_transpose,
    ("", "DeformConv"): _conv(1),
    ("", "Einsum"): _einsum,
    ("", "GRU"): _recurrent,
    ("", "Gemm"): _gemm,
    ("", "LSTM"): _recurrent,
    ("", "MatMul"): _matmul,
    ("", "MatMulInteger"): _matmul,
    ("", "QLinearConv"): _conv(3),
    ("", "QLinearMatMul"): lambda node: _matmul(node, 3),
    ("", "RNN"): _recurrent,
    (_MICROSOFT, "Attention"): _packed_attention(4),
    (_MICROSOFT, "DynamicQuantizeMatMul"): _matmul,
    (_MICROSOFT, "FusedConv"): _conv(1),
    (_MICROSOFT, "FusedGemm"): _gemm,
    (_MICROSOFT, "FusedMatMul"): _fused_matmul,
    (_MICROSOFT, "GroupQueryAttention"): _grouped_attention,
    (_MICROSOFT, "MatMulIntegerToFloat"): _matmul,
    (_MICROSOFT, "MatMulNBits"): _packed,
    (_MICROSOFT, "MultiHeadAttention"): _multi_head_attention,
    (_MICROSOFT, "QAttention"): _packed_attention(8),
    (_MICROSOFT, "QGemm"): _quantised_gemm,
}
