"""How many multiply-accumulates one ONNX node does, by operator.

A multiply-accumulate is one product that is added into a sum. What multiplies without summing
(element-wise products, normalisation, activation functions) counts as zero. Attention counts both
of its products over the full rectangle of queries and keys, masked or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One node with real shapes. An input or output that is left out is None."""

    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]
    attributes: Mapping[str, Any]

    def input(self, index: int) -> Shape | None:
        """Return the shape of an optional input."""
        return self.inputs[index] if index < len(self.inputs) else None

    def given(self, index: int) -> Shape:
        """Return the shape of an input that every such node has."""
        shape = self.input(index)
        if shape is None:
            raise ValueError(f"input {index} is missing")
        return shape

    def result(self) -> Shape:
        """Return the shape of the first output."""
        shape = self.outputs[0]
        if shape is None:
            raise ValueError("output 0 is missing")
        return shape

    def number(self, name: str, default: int = 0) -> int:
        """Return an integer attribute."""
        return int(self.attributes.get(name, default))


Formula = Callable[[Node], "int | None"]  # None: not known in this form


def _matmul(node: Node) -> int:
    """(..., M, K) by (..., K, N): one product of length K for each element of the result."""
    return math.prod(node.result()) * node.given(0)[-1]


def _fused_matmul(node: Node) -> int | None:
    if node.number("transBatchA") or node.number("transBatchB"):
        return None
    return math.prod(node.result()) * node.given(0)[-2 if node.number("transA") else -1]


def _gemm(node: Node) -> int:
    return math.prod(node.result()) * node.given(0)[0 if node.number("transA") else 1]


def _packed_matmul(node: Node) -> int:
    """MatMulNBits: the packed weight's shape says nothing, the attribute N its columns."""
    return math.prod(node.given(0)) * node.number("N")


def _conv(weight: int) -> Formula:
    """Weight (M, C / group, kernel...): its products of length C / group x kernel."""

    def formula(node: Node) -> int:
        return math.prod(node.result()) * math.prod(node.given(weight)[1:])

    return formula


def _conv_transpose(node: Node) -> int:
    """Weight (C, M / group, kernel...): each input element goes into M / group x kernel sums."""
    return math.prod(node.given(0)) * math.prod(node.given(1)[1:])


def _einsum(node: Node) -> int | None:
    """Two operands: one multiplication for each combination of all the letters' values."""
    terms = bytes(node.attributes["equation"]).decode().replace(" ", "").split("->")[0].split(",")
    if len(terms) == 1:
        return 0
    if len(terms) != 2:
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, (node.given(0), node.given(1)), strict=True):
        for label, size in zip(_labels(term, len(shape)), shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    return math.prod(sizes.values())


def _labels(term: str, rank: int) -> list[str]:
    """Spell out an ellipsis, counted from the right as broadcasting aligns it."""
    if "..." not in term:
        return list(term)
    head, tail = term.split("...")
    hidden = rank - len(head) - len(tail)
    return [*head, *(f".{hidden - i}" for i in range(hidden)), *tail]


def _recurrent(node: Node) -> int:
    """LSTM, GRU, RNN: W (directions, gates x H, I) and R (directions, gates x H, H), each step."""
    steps, batch = node.given(0)[:2]
    return steps * batch * (math.prod(node.given(1)) + math.prod(node.given(2)))


def _attention(node: Node) -> int:
    """ai.onnx Attention: Q (B, heads, L, D) or (B, L, heads x D), K and V alike."""
    q, k, v, past = node.given(0), node.given(1), node.given(2), node.input(4)
    if len(q) == 4:
        batch, heads, length, width = q
        keys, value_width = k[2], v[3]
    else:
        batch, length = q[:2]
        heads = node.number("q_num_heads")
        width = q[2] // heads
        keys, value_width = k[1], v[2] // node.number("kv_num_heads")
    keys += past[2] if past else 0
    return batch * heads * length * keys * (width + value_width)


def _packed_attention(past: int) -> Formula:
    """com.microsoft Attention and QAttention: X (B, S, D) by W (D, q + k + v), then attention."""

    def formula(node: Node) -> int:
        batch, length, width = node.given(0)
        total = node.given(1)[1]
        sizes: list[int] = node.attributes.get("qkv_hidden_sizes") or [total // 3] * 3
        memory = node.input(past)  # (2, B, heads, P, H)
        keys = length + (memory[3] if memory else 0)
        return batch * length * (width * total + keys * (sizes[0] + sizes[2]))

    return formula


def _multi_head_attention(node: Node) -> int:
    """com.microsoft MultiHeadAttention, whose keys and values may be packed."""
    q, k, v, past = node.given(0), node.input(1), node.input(2), node.input(6)
    batch, length = q[:2]
    width = math.prod(q[2:]) if k is not None else q[2] * q[4]  # (B, S, heads, 3, H) when packed
    if k is None:
        keys, value_width = length, width
    elif v is None:  # (B, T, heads, 2, H)
        keys, value_width = k[1], k[2] * k[4]
    elif len(k) == 4:  # (B, heads, T, H)
        keys, value_width = k[2], v[1] * v[3]
    else:
        keys, value_width = k[1], v[2]
    keys += past[2] if past else 0
    return batch * length * keys * (width + value_width)


def _grouped_attention(node: Node) -> int | None:
    """com.microsoft GroupQueryAttention; its present keys (B, kv heads, T, H) say how many."""
    q, heads, kv_heads = node.given(0), node.number("num_heads"), node.number("kv_num_heads")
    present = node.outputs[1] if len(node.outputs) > 1 else None
    if present is None:
        return None
    packed = node.input(1) is None
    head = q[2] // (heads + 2 * kv_heads if packed else heads)
    return q[0] * heads * q[1] * present[2] * 2 * head


_MICROSOFT = "com.microsoft"
FORMULAS: dict[tuple[str, str], Formula] = {
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
    ("", "QLinearMatMul"): _matmul,
    ("", "RNN"): _recurrent,
    (_MICROSOFT, "Attention"): _packed_attention(4),
    (_MICROSOFT, "DynamicQuantizeMatMul"): _matmul,
    (_MICROSOFT, "FusedConv"): _conv(1),
    (_MICROSOFT, "FusedGemm"): _gemm,
    (_MICROSOFT, "FusedMatMul"): _fused_matmul,
    (_MICROSOFT, "GroupQueryAttention"): _grouped_attention,
    (_MICROSOFT, "MatMulIntegerToFloat"): _matmul,
    (_MICROSOFT, "MatMulNBits"): _packed_matmul,
    (_MICROSOFT, "MultiHeadAttention"): _multi_head_attention,
    (_MICROSOFT, "QAttention"): _packed_attention(8),
    (_MICROSOFT, "QGemm"): _gemm,
}

# Standard operators that multiply and sum in ways that no formula above covers.
UNCOUNTED = {"CausalConvWithState", "DFT", "Det", "LinearAttention", "STFT"}

# ONNX Runtime's own operators without sums of products; all others of foreign domains are unknown.
FREE_MICROSOFT = {
    "BiasAdd", "BiasDropout", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "DequantizeLinear",
    "EmbedLayerNormalization", "FastGelu", "Gelu", "GroupNorm", "QLinearAdd",
    "QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool", "QLinearLeakyRelu",
    "QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear", "QuickGelu",
    "RotaryEmbedding", "SkipGroupNorm", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization", "Trilu", "UnfoldTensor",
}  # fmt: skip
