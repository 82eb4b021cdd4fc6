"""Softmax attention, a head and a few queries at a time: the scores never leave the first caches.

out = softmax(scale q k^T) v. The keys of a head are transposed once; then for each tile of queries scores,
softmax and the product with the values follow each other. Where queries, keys and values stand (in one output
of a projection, or apart; heads before tokens, or after) is a matter of strides, so that nothing is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

from tvm import tirx

from paring_exporters.tvm.shift_codes import LANES
from paring_exporters.tvm.tir import T, function, lanes, local, pure, store

from .dense import Tiling, product
from .rows import tiles
from .vectors import exponential, splat, total

_LOWEST = -3.0e38


@dataclass(frozen=True)
class Place:
    """Where the row of a sample, head and token begins: offset + batch b + head h + token t, in elements."""

    operand: int
    batch: int
    head: int
    token: int
    offset: int = 0


@dataclass(frozen=True)
class Attention:
    """What is attended to.

    Attributes:
        heads, tokens, dim: H, N and d; d is a multiple of 16.
        scale: of the scores.
        operands: the shape of each argument without its batch.
        query, key, value, out: where they stand; the last operand is the output.
        batch: a number; None where it stays open.
    """

    heads: int
    tokens: int
    dim: int
    scale: float
    operands: tuple[tuple[int, ...], ...]
    query: Place
    key: Place
    value: Place
    out: Place
    batch: int | None = None


def attention(name: str, layer: Attention, tiling: Tiling, threads: int) -> Any:
    """Return the PrimFunc over the operands, in order."""
    parts = threads // gcd(layer.heads, threads)

    def emit() -> None:
        batch = tirx.Var("n", "int64") if layer.batch is None else layer.batch
        given = [T.arg(f"operand{i}", T.buffer((batch, *s), "float32")) for i, s in enumerate(layer.operands)]
        count = batch if isinstance(batch, int) else T.cast(batch, "int32")
        sizes = [_volume(shape) * count for shape in layer.operands]
        flat = [
            T.decl_buffer((size,), "float32", data=one.data) for size, one in zip(sizes, given, strict=True)
        ]
        with T.parallel(0, count * (layer.heads * parts)) as item:
            place = T.Bind(item // parts)
            head = _Head(layer, tiling, flat, place // layer.heads, place % layer.heads)
            head.emit(item % parts, parts)

    return function(name, emit)


def _volume(shape: tuple[int, ...]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


class _Head:
    """Emits one head of one sample."""

    def __init__(self, layer: Attention, tiling: Tiling, flat: list[Any], batch: Any, head: Any) -> None:
        self.layer, self.tiling, self.flat = layer, tiling, flat
        self.batch, self.head = batch, head
        self.panels = -(-layer.tokens // tiling.panel)
        self.columns = self.panels * tiling.panel

    def emit(self, part: Any, parts: int) -> None:
        layer, tiling = self.layer, self.tiling
        keys = T.alloc_buffer((self.panels, layer.dim, tiling.panel), "float32")
        scores = T.alloc_buffer((tiling.rows, self.columns), "float32")
        shares = T.alloc_buffer((tiling.rows,), "float32")
        self._turn_keys(keys)
        each = -(-layer.tokens // parts)
        begin = T.Bind(part * each)
        count: Any = each if layer.tokens % parts == 0 else T.min(T.int32(layer.tokens) - begin, each)

        def tile(first: Any, rows: int) -> None:
            query = T.Bind(begin + first)
            self._scores(keys, scores, query, rows)
            with T.serial(0, rows) as row:
                self._softmax(scores, shares, row)
            self._mix(scores, shares, query, rows)

        tiles(count, tiling.rows, tile)

    def _row(self, place: Place, token: Any) -> Any:
        return self.batch * place.batch + self.head * place.head + token * place.token + T.int32(place.offset)

    def _turn_keys(self, keys: Any) -> None:
        layer, width, place = self.layer, self.tiling.panel, self.layer.key
        full, rest = divmod(layer.tokens, width)
        source = self.flat[place.operand]
        if full:
            with T.serial(0, full) as panel, T.serial(0, width) as lane:
                begin = T.Bind(self._row(place, panel * width + lane))
                with T.serial(0, layer.dim) as i:
                    store(keys, source[begin + i], panel, i, lane)
        if rest:
            with T.serial(0, layer.dim) as i, T.serial(0, width) as lane:
                store(keys, T.float32(0), full, i, lane)
            with T.serial(0, rest) as lane:
                begin = T.Bind(self._row(place, lane + full * width))
                with T.serial(0, layer.dim) as i:
                    store(keys, source[begin + i], full, i, lane)

    def _scores(self, keys: Any, scores: Any, query: Any, rows: int) -> None:
        layer, tiling, source = self.layer, self.tiling, self.flat[self.layer.query.operand]
        begin = [T.Bind(self._row(layer.query, query + row)) for row in range(rows)]
        with T.serial(0, self.panels) as panel:
            sums = product(
                lambda row, i: source[begin[row] + i],
                lambda i, part: keys[panel, i, lanes(part * LANES, LANES)],
                layer.dim,
                rows,
                tiling.vectors,
                tiling.unroll,
            )
            for row in range(rows):
                for part in range(tiling.vectors):
                    scaled = sums[row, part, lanes(0, LANES)] * splat(layer.scale)
                    store(scores, scaled, row, lanes(panel * tiling.panel + part * LANES, LANES))

    def _softmax(self, scores: Any, shares: Any, row: Any) -> None:
        """Leave e^(score - largest) in the scores, and one over their sum in the shares."""
        tokens, columns = self.layer.tokens, self.columns
        if columns > tokens:
            with T.serial(tokens, columns) as column:
                store(scores, T.float32(_LOWEST), row, column)
        whole = lanes(0, LANES)
        best, sums = local((LANES,), "float32"), local((LANES,), "float32")
        store(best, splat(_LOWEST), whole)
        store(sums, splat(0.0), whole)
        with T.serial(0, columns // LANES) as block:
            store(best, T.max(best[whole], scores[row, lanes(block * LANES, LANES)]), whole)
        largest = T.Bind(pure("float32", "llvm.vector.reduce.fmax", best[whole]))
        with T.serial(0, columns // LANES) as block:
            at = lanes(block * LANES, LANES)
            found = T.Bind(exponential(scores[row, at] - splat(largest)))
            store(scores, found, row, at)
            store(sums, sums[whole] + found, whole)
        store(shares, T.float32(1.0) / total(T.Bind(sums[whole])), row)

    def _mix(self, scores: Any, shares: Any, query: Any, rows: int) -> None:
        layer, value, out = self.layer, self.layer.value, self.layer.out
        source, into = self.flat[value.operand], self.flat[out.operand]
        done = 0
        while done < layer.dim:
            vectors = min(self.tiling.vectors, (layer.dim - done) // LANES)
            sums = product(
                lambda row, m: scores[row, m],
                lambda m, part, at=done: source[  # type: ignore[misc]
                    lanes(self._row(value, m) + (at + part * LANES), LANES)
                ],
                layer.tokens,
                rows,
                vectors,
                self.tiling.unroll,
            )
            for row in range(rows):
                begin = self._row(out, query + row)
                for part in range(vectors):
                    mixed = sums[row, part, lanes(0, LANES)] * splat(shares[row])
                    store(into, mixed, lanes(begin + (done + part * LANES), LANES))
            done += vectors * LANES
