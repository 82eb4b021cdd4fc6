"""y = x W^T + b in fp32: tiles of registers over panels of output features.

A panel of the weight, [in_features, 16 or 32], lies in one piece and stays in the second cache while all rows
go by. What follows the layer (an activation, the residual that is added) is done on the tile in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paring_exporters.tvm.shift_codes import LANES
from paring_exporters.tvm.target import has
from paring_exporters.tvm.tir import T, function, lanes, local, store

from .rows import rows_of, tiles
from .vectors import fma, gelu, loaded, splat, store_some, tail_of

Columns = Callable[[Any, int], Any]  # a place of the depth and a vector of a tile to 16 columns


class Tiling(NamedTuple):
    """How a product is cut up. Every tiling gives the same sums, in the same order.

    Attributes:
        rows, panel: rows by output features that are summed in registers at once; the latter make a panel.
        unroll: products of a sum in one pass of the inner loop.
        block: rows that go by one thread's panels before the next do, so that they stay in its caches; 0: all
            rows go by one panel after the other. Of linear layers alone.
    """

    rows: int
    panel: int
    unroll: int = 1
    block: int = 0

    @property
    def vectors(self) -> int:
        """16 lanes each."""
        return self.panel // LANES


# 24 of AVX-512's 32 registers; 12 of AVX2's 16, two of which make a vector of 16 lanes.
WIDE, NARROW = Tiling(12, 32), Tiling(6, 16)


def tiling_for(target: Any) -> Tiling:
    """Return what a target's registers hold."""
    return WIDE if has(target, "avx512f") else NARROW


@dataclass(frozen=True)
class Dense:
    """A layer's extents and what is fused behind it.

    Attributes:
        middle: dimensions of x between batch and features.
        batch: a number; None where it stays open.
        activation: "" or "gelu".
        residual: whether one more operand of y's shape is added last.
    """

    middle: tuple[int, ...]
    in_features: int
    out_features: int
    batch: int | None = None
    activation: str = ""
    residual: bool = False


def panels_of(weight: NDArray[np.float32], panel: int) -> NDArray[np.float32]:
    """[N, K] -> [ceil(N / panel), K, panel], padded with zeros."""
    outputs, inputs = weight.shape
    whole = np.zeros((-(-outputs // panel) * panel, inputs), np.float32)
    whole[:outputs] = weight
    return np.ascontiguousarray(whole.reshape(-1, panel, inputs).transpose(0, 2, 1))


def padded(bias: NDArray[np.float32] | None, outputs: int, panel: int) -> NDArray[np.float32]:
    """A bias for every column of the panels."""
    found = np.zeros(-(-outputs // panel) * panel, np.float32)
    if bias is not None:
        found[:outputs] = bias
    return found


def dense(name: str, layer: Dense, tiling: Tiling, threads: int = 1) -> Any:
    """Return the PrimFunc: x, weight [panels, K, panel], bias [panels * panel], residual if any, y.

    Args:
        name: of the function.
        layer: extents.
        tiling: of which the panels are.
        threads: that share the panels, where rows go by in blocks.
    """

    def weight(panels: int) -> Callable[[Any], Columns]:
        given = T.arg("weight", T.buffer((panels, layer.in_features, tiling.panel), "float32"))
        return lambda panel: lambda k, part: given[panel, k, lanes(part * LANES, LANES)]

    return over_panels(name, layer, tiling, weight, threads)


def over_panels(
    name: str,
    layer: Dense,
    tiling: Tiling,
    weight: Callable[[int], Callable[[Any], Columns]],
    threads: int = 1,
) -> Any:
    """Return the PrimFunc of a layer whose weight is read a panel at a time, by all rows one after the other.

    Args:
        name: of the function.
        layer: extents.
        tiling: of which the panels are.
        weight: told how many panels there are, declares the arguments between x and bias; what it returns
            emits, at the beginning of a panel, what is needed, and returns the panel's columns.
        threads: as of `dense`.
    """
    panels = -(-layer.out_features // tiling.panel)

    def emit() -> None:
        rows = rows_of(layer.batch, layer.middle)
        x = rows.argument("x", layer.in_features)
        columns_of = weight(panels)
        bias = T.arg("bias", T.buffer((panels * tiling.panel,), "float32"))
        residual = rows.argument("residual", layer.out_features) if layer.residual else None
        y = rows.argument("y", layer.out_features)
        x, y = rows.seen(x), rows.seen(y)
        residual = None if residual is None else rows.seen(residual)

        def one_panel(panel: Any, begin: Any, count: Any) -> None:
            columns = columns_of(panel)

            def tile(first: Any, size: int) -> None:
                at = first if isinstance(begin, int) and begin == 0 else T.Bind(begin + first)
                depth, unroll = layer.in_features, tiling.unroll
                sums = product(lambda row, k: x[at + row, k], columns, depth, size, tiling.vectors, unroll)
                finish(layer, sums, bias, residual, y, (at, size), panel)

            tiles(count, tiling.rows, tile)

        if not tiling.block:
            with T.parallel(0, panels) as panel:
                one_panel(panel, 0, rows.count)
            return
        each = -(-panels // threads)
        blocks = (rows.count + (tiling.block - 1)) // tiling.block
        with T.parallel(0, threads) as thread, T.serial(0, blocks) as block:
            begin = T.Bind(block * tiling.block)
            count = T.Bind(T.min(rows.count - begin, T.int32(tiling.block)))
            with T.serial(0, each) as step:
                panel = T.Bind(thread * each + step)
                with T.If(panel < panels), T.Then():
                    one_panel(panel, begin, count)

    return function(name, emit)


def product(
    value: Callable[[int, Any], Any],
    columns: Columns,
    depth: int,
    count: int,
    vectors: int,
    unroll: int = 1,
) -> Any:
    """Emit the sums of a tile over `depth`; return the registers [count, vectors, 16].

    Args:
        value: a row of the tile and a place of the depth to a scalar of the left operand.
        columns: a place of the depth and a vector of the tile to 16 columns of the right operand.
        depth: how many products are summed.
        count: rows of the tile.
        vectors: of 16 columns.
        unroll: products in one pass of the loop.
    """
    sums = local((count, vectors, LANES), "float32")
    for row in range(count):
        for part in range(vectors):
            store(sums, splat(0.0), row, part, lanes(0, LANES))

    def step(k: Any) -> None:
        loaded_columns = [T.Bind(columns(k, part)) for part in range(vectors)]
        for row in range(count):
            spread = T.Bind(splat(value(row, k)))
            for part, column in enumerate(loaded_columns):
                at = (row, part, lanes(0, LANES))
                store(sums, fma(spread, column, sums[at]), *at)

    full, rest = divmod(depth, unroll)
    with T.serial(0, full) as k:
        for i in range(unroll):
            step(k if unroll == 1 else T.Bind(k * unroll + i))
    for i in range(rest):
        step(T.int32(full * unroll + i))
    return sums


def finish(
    layer: Dense, sums: Any, bias: Any, residual: Any, y: Any, rows: tuple[Any, int], panel: Any
) -> None:
    """Emit what follows the sums, and store them."""
    first, count = rows
    full, rest = divmod(layer.out_features, LANES)
    vectors = int(sums.shape[1])
    for part in range(vectors):
        block = panel * vectors + part

        def write(width: int, part: int = part, block: Any = block) -> None:
            for row in range(count):
                value = sums[row, part, lanes(0, LANES)] + bias[lanes(block * LANES, LANES)]
                value = T.Bind(gelu(value) if layer.activation == "gelu" else value)
                if residual is not None:
                    value = value + _some(residual, first + row, block * LANES, width)
                store_some(y, value, first + row, block * LANES, width)

        if layer.out_features % (vectors * LANES) == 0:
            write(LANES)
            continue
        with T.If(block < full), T.Then():
            write(LANES)
        if rest:
            with T.If(block == full), T.Then():
                write(rest)


def _some(buffer: Any, row: Any, column: Any, width: int) -> Any:
    return loaded(buffer, row, column) if width == LANES else tail_of(buffer, row, column, width)
