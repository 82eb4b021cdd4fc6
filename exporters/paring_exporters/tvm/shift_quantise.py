"""Quantise rows of activations to int8 in a kernel: symmetric, scaled by the row's largest magnitude.

q = round(127 x / max|x|), half to even; the row's scale is max|x| / 127. A row whose values are all below
1e-30 in magnitude counts as zeros. Values must be finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paring_exporters.tvm.tir import T, lanes, local, pure, store

# Added to a float32 below 2^22 in magnitude, it leaves the rounded integer in the low bits: 1.5 * 2^23.
_ROUNDER = 12_582_912.0
_ROUNDER_BITS = 0x4B400000
_TINY = 1e-30
WIDTH = 64
_WORDS = WIDTH // 4
# Rows begin this far apart beyond their length, so that those of a block do not meet in one cache set.
_SKEW_BYTES = 64


@dataclass(frozen=True)
class Quantised:
    """Scratch buffers of one thread: `words` int32 [rows, words] of four int8; `scale`; `total`, sum q."""

    words: Any
    scale: Any
    total: Any


def scratch(rows: int, in_features: int) -> Quantised:
    """Allocate the scratch for `rows` rows."""
    words = (-(-in_features // WIDTH) * WIDTH + _SKEW_BYTES) // 4
    return Quantised(
        T.alloc_buffer((rows, words), "int32"),
        T.alloc_buffer((rows,), "float32"),
        T.alloc_buffer((rows,), "int32"),
    )


def quantise_row(x: Any, row: Any, into: Quantised, at: Any, in_features: int) -> None:
    """Emit the code that quantises x[row] into row `at` of the scratch."""
    full, rest = divmod(in_features, WIDTH)
    tail = _tail(x, row, full * WIDTH, rest) if rest else None
    largest = _largest(x, row, full, tail)
    magnitude = T.reinterpret("float32", largest)
    big = magnitude > T.float32(_TINY)
    factor = T.Bind(T.Select(big, T.float32(127.0) / T.max(magnitude, T.float32(_TINY)), T.float32(0)))
    store(into.scale, T.Select(big, magnitude / T.float32(127.0), T.float32(0)), at)
    total = local((WIDTH,), "int32")
    store(total, T.broadcast(T.int32(0), WIDTH), lanes(0, WIDTH))
    if full:
        with T.serial(0, full) as block:
            _round_block(_block(x, row, block * WIDTH), factor, into, at, block, total)
    if tail is not None:
        _round_block(tail[lanes(0, WIDTH)], factor, into, at, full, total)
    store(into.total, _reduce("add", total[lanes(0, WIDTH)]), at)


def _block(x: Any, row: Any, start: Any) -> Any:
    """Return WIDTH values of a row as one vector."""
    return x[row, lanes(start, WIDTH)]


def _tail(x: Any, row: Any, start: int, rest: int) -> Any:
    """Return a buffer of WIDTH values: the last ones of a row, then zeros."""
    buffer = local((WIDTH,), "float32")
    store(buffer, T.broadcast(T.float32(0), WIDTH), lanes(0, WIDTH))
    with T.serial(0, rest) as k:
        store(buffer, x[row, start + k], k)
    return buffer


def _largest(x: Any, row: Any, full: int, tail: Any) -> Any:
    """Return max|x| as the bits of a float32: magnitudes are ordered as their bits are."""
    best = local((WIDTH,), "int32")
    whole = lanes(0, WIDTH)
    store(best, T.broadcast(T.int32(0), WIDTH), whole)

    def take(block: Any) -> None:
        bits = T.reinterpret(f"int32x{WIDTH}", block) & T.broadcast(T.int32(0x7FFFFFFF), WIDTH)
        store(best, T.max(best[whole], bits), whole)

    if full:
        with T.serial(0, full) as block:
            take(_block(x, row, block * WIDTH))
    if tail is not None:
        take(tail[whole])
    return T.Bind(_reduce("smax", best[whole]))


def _round_block(block: Any, factor: Any, into: Quantised, at: Any, index: Any, total: Any) -> None:
    shifted = block * T.broadcast(factor, WIDTH) + T.broadcast(T.float32(_ROUNDER), WIDTH)
    bits = T.reinterpret(f"int32x{WIDTH}", shifted)
    rounded = T.Bind(bits - T.broadcast(T.int32(_ROUNDER_BITS), WIDTH))
    words = T.reinterpret(f"int32x{_WORDS}", T.cast(rounded, f"int8x{WIDTH}"))
    store(into.words, words, at, lanes(index * _WORDS, _WORDS))
    whole = lanes(0, WIDTH)
    store(total, total[whole] + rounded, whole)


def _reduce(what: str, vector: Any) -> Any:
    return pure("int32", f"llvm.vector.reduce.{what}", vector)
