"""Shift layers of a whole model, for an open number of rows: y = x W^T + b, W of packed 4-bit codes.

- integer: `quantise` rounds each row of x to int8 once, for every layer that reads it; `integer_layer` looks
  the codes up and sums exactly in int32 (`shift_tile`), a share of the output features a thread;
- float: `float_layer` decodes a panel of the weight into the second cache, in fp32, and goes on as `dense`.

Both read 4 bits a weight from memory. ShiftAddViT, https://arxiv.org/abs/2306.06446
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paring_exporters.tvm.shift_codes import LANES, codes, unit_bytes
from paring_exporters.tvm.shift_quantise import WIDTH, Quantised, quantise_row
from paring_exporters.tvm.shift_tile import Tile
from paring_exporters.tvm.tir import T, function, lanes, store

from .dense import Columns, Dense, Tiling, finish, over_panels
from .rows import rows_of, tiles
from .vectors import shared, splat

_UNIT = 2.0**-6  # what a 4-bit code's integer of 1 stands for


def words_of(in_features: int) -> int:
    """int32 words of a quantised row."""
    return -(-in_features // WIDTH) * WIDTH // 4


def quantise(name: str, layer: Dense, threads: int) -> Any:
    """Return the PrimFunc: x, words int32 [*, words], scale fp32 [*, 1], total int32 [*, 1]."""

    def emit() -> None:
        rows = rows_of(layer.batch, layer.middle)
        x = rows.argument("x", layer.in_features)
        words = rows.argument("words", words_of(layer.in_features), "int32")
        scale, total = rows.argument("scale", 1), rows.argument("total", 1, "int32")
        x, words = rows.seen(x), rows.seen(words)
        scale, total = (T.decl_buffer((rows.count,), one.dtype, data=one.data) for one in (scale, total))
        into = Quantised(words, scale, total)
        shared(rows.count, threads, lambda row: quantise_row(x, row, into, row, layer.in_features))

    return function(name, emit)


def integer_layer(name: str, layer: Dense, tile: Tile) -> Any:
    """Return the PrimFunc: words, scale, total (of `quantise`), weight (`reblock`), steps and bias of
    its lanes, residual if any, y.
    """
    shape, block = tile.shape, tile.schedule.row_block  # type: ignore[attr-defined]

    def emit() -> None:
        rows = rows_of(layer.batch, layer.middle)
        words = rows.argument("words", words_of(layer.in_features), "int32")
        scale, total = rows.argument("scale", 1), rows.argument("total", 1, "int32")
        weight = T.arg("weight", T.buffer((shape.blocks, shape.units, unit_bytes(4)), "uint8"))
        steps, bias = (T.arg(n, T.buffer((shape.blocks * LANES,), "float32")) for n in ("steps", "bias"))
        residual = rows.argument("residual", layer.out_features) if layer.residual else None
        y = rows.argument("y", layer.out_features)
        words, y = rows.seen(words), rows.seen(y)
        scale, total = (T.decl_buffer((rows.count,), one.dtype, data=one.data) for one in (scale, total))
        residual = None if residual is None else rows.seen(residual)
        q = Quantised(words, scale, total)
        with T.parallel(0, shape.blocks) as column:
            tables = tile.tables()

            def emit_tile(first: Any, count: int) -> None:
                found = tile.sums(tables, q, weight, (first, count), column)
                factors = steps[lanes(column * LANES, LANES)]
                sums = T.alloc_buffer((count, 1, LANES), "float32", scope="local")
                for row, value in enumerate(found):
                    scaled = T.cast(value, f"float32x{LANES}") * (splat(scale[first + row]) * factors)
                    store(sums, scaled, row, 0, lanes(0, LANES))
                finish(layer, sums, bias, residual, y, (first, count), column)

            tiles(rows.count, block, emit_tile)

    return function(name, emit)


def paired(nibbles: NDArray[np.uint8], in_features: int, panel: int) -> NDArray[np.uint8]:
    """Canonical codes [N, ceil(K/2)] -> [panels, ceil(K/2), panel]: two input features a byte."""
    found = codes(nibbles, None, in_features)
    panels, pairs = -(-len(found) // panel), -(-in_features // 2)
    whole = np.zeros((panels * panel, pairs * 2), np.uint8)
    whole[: len(found), :in_features] = found
    both = whole[:, 0::2] | whole[:, 1::2] << 4
    return np.ascontiguousarray(both.reshape(panels, panel, pairs).transpose(0, 2, 1))


def float_layer(name: str, layer: Dense, tiling: Tiling) -> Any:
    """Return the PrimFunc: x, weight (`paired`), scale and bias of the panels' columns, residual, y."""
    pairs = -(-layer.in_features // 2)

    def weight(panels: int) -> Callable[[Any], Columns]:
        given = T.arg("weight", T.buffer((panels, pairs, tiling.panel), "uint8"))
        scale = T.arg("scale", T.buffer((panels * tiling.panel,), "float32"))

        def columns_of(panel: Any) -> Columns:
            decoded = T.alloc_buffer((pairs * 2, tiling.panel), "float32")
            with T.serial(0, pairs) as pair:
                for part in range(tiling.vectors):
                    _decode(given, scale, decoded, panel, pair, part)
            return lambda k, part: decoded[k, lanes(part * LANES, LANES)]

        return columns_of

    return over_panels(name, layer, tiling, weight)


def _decode(weight: Any, scale: Any, decoded: Any, panel: Any, pair: Any, part: int) -> None:
    """Write two rows of 16 weights: a code sign << 3 | m is a float32 of exponent m - 7, or 0 for m = 0."""
    kind = f"int32x{LANES}"
    at = lanes(part * LANES, LANES)
    byte = T.Bind(T.cast(weight[panel, pair, at], kind))
    columns = int(decoded.shape[1])
    factor = T.Bind(scale[lanes(panel * columns + part * LANES, LANES)])
    for half in range(2):
        code = T.Bind(byte >> _ints(4 * half))
        m = T.Bind(code & _ints(7))
        power = T.Bind(T.reinterpret(f"float32x{LANES}", (m + _ints(127 - 7)) << _ints(23)))
        # For m = 0 the power is 2^-7, taken away again; otherwise nothing is.
        none = T.cast(T.max(_ints(1) - m, _ints(0)), f"float32x{LANES}") * splat(2.0**-7)
        sign = splat(1.0) - T.cast(code & _ints(8), f"float32x{LANES}") * splat(0.25)
        store(decoded, (power - none) * sign * factor, pair * 2 + half, at)


def _ints(value: int) -> Any:
    return T.broadcast(T.int32(value), LANES)
