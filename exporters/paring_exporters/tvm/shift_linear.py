"""Shift-linear as one function of TIR: quantise the rows of x, look codes up, add, scale.

    y[i, n] = scale[n] * row_scale[i] * sum_k v[n, k] q[i, k] + bias[n]

with x[i, k] ~ row_scale[i] q[i, k], q int8, and v the integer of the weight's power-of-two code
(ShiftAddViT, https://arxiv.org/abs/2306.06446, and DeepShift). The sums are exact in int32.
Each thread does all of this for its share of rows or of output features, in one parallel region: for few
rows it is cheaper that all threads quantise all rows than that they wait for each other.
"""

from __future__ import annotations

from typing import Any, Literal

from paring_exporters.tvm.avx2_tile import AVX2, Avx2Tile
from paring_exporters.tvm.shift_codes import LANES, unit_bytes
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_exporters.tvm.shift_quantise import quantise_row, scratch
from paring_exporters.tvm.shift_tile import PortableTile, Tile, VnniTile
from paring_exporters.tvm.target import VNNI, has, threads_of
from paring_exporters.tvm.tir import T, function, lanes, local, store

Output = Literal["scaled", "sums"]


def tile_for(target: Any, shape: ShiftShape, schedule: Schedule) -> Tile:
    """Return the tile that a target's features allow, and the code and the schedule."""
    if has(target, *VNNI):
        return VnniTile(shape, schedule)
    if has(target, *AVX2) and shape.bits == 4 and schedule.column_blocks == 1:
        return Avx2Tile(shape, schedule)
    return PortableTile(shape, schedule)


def untuned(target: Any) -> Schedule:
    """Return the schedule for shapes that were not timed: rows whose sums a target's registers hold."""
    return Schedule(row_block=8 if has(target, *VNNI) else 4 if has(target, *AVX2) else 2)


def shift_linear(
    name: str, shape: ShiftShape, schedule: Schedule, target: Any, output: Output = "scaled"
) -> Any:
    """Return the kernel's PrimFunc.

    Its arguments, all contiguous: x fp32 [rows, in_features]; weight uint8 [blocks, units, bytes of a unit]
    (`reblock`, in the order of `tile_for(...).order`); scale and bias fp32 [16 * blocks] (`pad_outputs`);
    y fp32 [rows, out_features]. `scale` is that of the integers v: the code's scale times 2^-6 (4 bits)
    or 2^-14 (5 bits). With output "sums" scale and bias are not read, and y is int64: the exact sums.
    """
    tile = tile_for(target, shape, schedule)

    def emit() -> None:
        x = T.arg("x", T.buffer((shape.rows, shape.in_features), "float32"))
        weight = T.arg("weight", T.buffer((shape.blocks, shape.units, unit_bytes(shape.bits)), "uint8"))
        scale = T.arg("scale", T.buffer((shape.blocks * LANES,), "float32"))
        bias = T.arg("bias", T.buffer((shape.blocks * LANES,), "float32"))
        kind = "float32" if output == "scaled" else "int64"
        y = T.arg("y", T.buffer((shape.rows, shape.out_features), kind))
        emitter = _Emitter(shape, schedule, tile, output, (x, weight, scale, bias, y))
        with T.parallel(0, threads_of(target)) as thread:
            emitter.share(thread, threads_of(target))

    return function(name, emit)


class _Emitter:
    """Emits one thread's share of the work."""

    def __init__(
        self, shape: ShiftShape, schedule: Schedule, tile: Tile, output: Output, buffers: tuple[Any, ...]
    ) -> None:
        self.shape, self.schedule, self.tile, self.output = shape, schedule, tile, output
        self.x, self.weight, self.scale, self.bias, self.y = buffers

    def share(self, thread: Any, threads: int) -> None:
        if self.schedule.split == "rows":
            self._share_of_rows(thread, threads)
        else:
            self._share_of_columns(thread, threads)

    def _share_of_columns(self, thread: Any, threads: int) -> None:
        shape, block = self.shape, self.schedule.row_block
        tables = self.tile.tables()
        q = scratch(shape.rows, shape.in_features)
        with T.serial(0, shape.rows) as row:
            quantise_row(self.x, row, q, row, shape.in_features)
        groups = shape.blocks // self.schedule.column_blocks
        full, rest = divmod(shape.rows, block)

        def columns(group: Any) -> None:
            if full:
                with T.serial(0, full) as at:
                    self._tile(tables, q, at * block, at * block, block, group)
            if rest:
                self._tile(tables, q, full * block, full * block, rest, group)

        _shared(thread, threads, groups, columns)

    def _share_of_rows(self, thread: Any, threads: int) -> None:
        shape, block = self.shape, self.schedule.row_block
        tables = self.tile.tables()
        q = scratch(min(block, shape.rows), shape.in_features)
        groups = shape.blocks // self.schedule.column_blocks
        full, rest = divmod(shape.rows, block)

        def rows(first: Any, count: int) -> None:
            with T.serial(0, count) as row:
                quantise_row(self.x, first + row, q, row, shape.in_features)
            with T.serial(0, groups) as group:
                self._tile(tables, q, 0, first, count, group)

        if full:
            _shared(thread, threads, full, lambda at: rows(at * block, block))
        if rest:
            with T.If(thread == threads - 1), T.Then():
                rows(full * block, rest)

    def _tile(self, tables: Any, q: Any, at: Any, first: Any, count: int, group: Any) -> None:
        """Emit a tile and what becomes of it; `at` is its first row in the scratch, `first` in x and y."""
        blocks = self.schedule.column_blocks
        sums = self.tile.sums(tables, q, self.weight, (at, count), group * blocks)
        for row in range(count):
            for j in range(blocks):
                found = sums[row * blocks + j]
                block = group * blocks + j
                value = found if self.output == "sums" else self._scaled(found, q.scale[at + row], block)
                self._write(value, first + row, block)

    def _scaled(self, found: Any, row_scale: Any, block: Any) -> Any:
        columns = lanes(block * LANES, LANES)
        if isinstance(found, tuple):
            low, high = (T.cast(part, "float32x16") for part in found)
            total = low + high * T.broadcast(T.float32(256), LANES)
        else:
            total = T.cast(found, "float32x16")
        return total * (T.broadcast(row_scale, LANES) * self.scale[columns]) + self.bias[columns]

    def _write(self, value: Any, row: Any, block: Any) -> None:
        if self.output == "sums":
            value = _wide_sum(value)
        outputs = self.shape.out_features
        full, rest = divmod(outputs, LANES)
        if not rest:
            store(self.y, value, row, lanes(block * LANES, LANES))
            return
        buffer = local((LANES,), "float32" if self.output == "scaled" else "int64")
        store(buffer, value, lanes(0, LANES))
        with T.If(block < full):
            with T.Then():
                store(self.y, buffer[lanes(0, LANES)], row, lanes(block * LANES, LANES))
            with T.Else(), T.serial(0, rest) as lane:
                store(self.y, buffer[lane], row, full * LANES + lane)


def _wide_sum(found: Any) -> Any:
    if isinstance(found, tuple):
        low, high = (T.cast(part, "int64x16") for part in found)
        return low + high * T.broadcast(T.int64(256), LANES)
    return T.cast(found, "int64x16")


def _shared(thread: Any, threads: int, count: int, emit: Any) -> None:
    """Emit a loop over this thread's share of `count` items."""
    each = -(-count // threads)
    with T.serial(0, each) as step:
        item = thread * each + step
        if count % threads == 0:
            emit(item)
        else:
            with T.If(item < count), T.Then():
                emit(item)
