"""Bits in words of 32: element 32 w + i of an axis is bit i of word w. A ragged last word ends in zeros.

Kernels read queries packed along their dim and keys packed along their tokens: the first product of
binary attention sums values over tokens, the second sums rows of the first over the dim.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

WORD = 32
LANES = 16  # 32-bit lanes of a 512-bit register


def words(size: int) -> int:
    """How many words hold `size` bits."""
    return -(-size // WORD)


def pack_bits(bits: NDArray[Any]) -> NDArray[np.uint32]:
    """Pack 0 and 1 [..., size] along the last axis into words [..., ceil(size / 32)]."""
    padded = np.zeros((*bits.shape[:-1], words(bits.shape[-1]) * WORD), np.uint8)
    padded[..., : bits.shape[-1]] = bits != 0
    return np.packbits(padded, axis=-1, bitorder="little").view("<u4").astype(np.uint32)


def pack_rows(source: Any, threshold: Any = None, name: str = "row_bits") -> Any:
    """Words along the last axis of [B, H, N, d]: [B, H, N, ceil(d / 32)] uint32.

    Args:
        source: uint8 or bool of 0 and 1; or fp32 beside a threshold.
        threshold: [H] fp32: a bit is 1 where the source is greater than its head's.
        name: of the stage.
    """
    size = int(source.shape[-1])
    bit = te.reduce_axis((0, WORD), name="bit")

    def word(b: Any, h: Any, n: Any, w: Any) -> Any:
        column = w * WORD + bit
        found = _is_set(source, threshold, (b, h, n, column))
        return te.sum(_inside(column, size, _at(found, bit)), axis=bit)

    return te.compute((*source.shape[:-1], words(size)), word, name=name)


def pack_columns(source: Any, threshold: Any = None, name: str = "column_bits") -> Any:
    """Words along the tokens of [B, H, N, d]: [B, H, ceil(N / 32), d] uint32. Arguments as of `pack_rows`."""
    batch, heads, tokens, size = (int(extent) for extent in source.shape)

    def word(b: Any, h: Any, w: Any, i: Any) -> Any:
        rows = [w * WORD + j for j in range(WORD)]
        found = [_is_set(source, threshold, (b, h, row, i)) for row in rows]
        placed = [_inside(row, tokens, _at(bit, j)) for j, (row, bit) in enumerate(zip(rows, found, strict=True))]
        return functools.reduce(operator.or_, placed)

    return te.compute((batch, heads, words(tokens), size), word, name=name)


def unpack_rows(packed: Any, size: int, name: str = "unpacked") -> Any:
    """Bits [B, H, N, size] uint32 of 0 and 1 of words [B, H, N, ceil(size / 32)]."""

    def bit(b: Any, h: Any, n: Any, i: Any) -> Any:
        return bit_of(packed[b, h, n, i // WORD], i % WORD)

    return te.compute((*packed.shape[:-1], size), bit, name=name)


def bit_of(word: Any, place: Any) -> Any:
    """Bit `place` of a word, as uint32 0 or 1."""
    shifted = tirx.shift_right(word, tirx.Cast("uint32", place))
    return tirx.bitwise_and(shifted, tirx.const(1, "uint32"))


def _is_set(source: Any, threshold: Any, index: tuple[Any, ...]) -> Any:
    if threshold is not None:
        return source[index] > threshold[index[1]]
    return source[index] if source.dtype == "bool" else source[index] != tirx.const(0, source.dtype)


def _at(condition: Any, place: Any) -> Any:
    """The word in which bit `place` alone may be set."""
    one = tirx.shift_left(tirx.const(1, "uint32"), tirx.Cast("uint32", place))
    return tirx.Select(condition, one, tirx.const(0, "uint32"))


def _inside(index: Any, size: int, word: Any) -> Any:
    return word if size % WORD == 0 else tirx.if_then_else(index < size, word, tirx.const(0, "uint32"))
