"""Simple schedules for CUDA: an element a thread, or a tile of sums a block, an operand in shared memory."""

from __future__ import annotations

from typing import Any

from paring_exporters.tvm.binary_loops import extent
from paring_exporters.tvm.binary_schedule import inline, stages

THREADS = 256  # of a block that computes an element a thread
COLUMNS = 64  # of a tile of sums: a thread each
ROWS = 4  # of a tile's rows of threads
ROWS_OF_THREAD = 4  # sums that a thread holds in registers
INNER = 32  # terms of the sum that shared memory holds at a time


def bind_elements(schedule: Any, name: str) -> None:
    """Compute each element of a stage, with its sum if it is one, on a thread of its own."""
    block = schedule.get_sblock(name)
    loops = schedule.get_loops(block)
    spatial = loops[:-1] if schedule.get(block).init is not None else loops
    _spread(schedule, schedule.fuse(*spatial), {"blockIdx.x": None, "threadIdx.x": THREADS})


def tile_sum(schedule: Any, name: str, copied: str = "", made: str = "", store: str = "") -> None:
    """Compute sums [*, rows, columns] over k in tiles: 4 x 64 threads of four sums each.

    Args:
        schedule: holds the stage.
        name: of the stage, whose loops are *, rows, columns, k.
        copied: an operand that is copied to shared memory, 32 of its k at a time.
        made: an operand that is a stage of its own, computed in shared memory likewise.
        store: a stage that takes the sums element by element: computed where they are complete.
    """
    block = schedule.get_sblock(name)
    *lead, r, c, k = schedule.get_loops(block)
    columns = min(COLUMNS, extent(schedule, c))
    r, y, each = schedule.split(r, [None, ROWS, ROWS_OF_THREAD])
    c, x = schedule.split(c, [None, columns])
    outer, inner = schedule.split(k, [None, min(INNER, extent(schedule, k))])
    schedule.reorder(*lead, r, c, y, x, outer, inner, each)
    schedule.bind(schedule.fuse(*lead, r, c), "blockIdx.x")
    schedule.bind(y, "threadIdx.y")
    schedule.bind(x, "threadIdx.x")
    if store:
        schedule.set_scope(block, 0, "local")
        schedule.reverse_compute_at(schedule.get_sblock(store), x, preserve_unit_loops=True)
    else:
        schedule.reverse_compute_at(schedule.cache_write(block, 0, "local"), x, preserve_unit_loops=True)
    if made:
        _make(schedule, made, outer, columns)
    if copied:
        _copy(schedule, block, copied, outer, columns)
    schedule.unroll(each)
    schedule.decompose_reduction(block, outer)


def schedule_attention(schedule: Any) -> None:
    """Schedule `attention_definition(..., tables=False)`: packing, sums and epilogue as kernels in a row."""
    for name in ("k_unpacked", "k_bits_transposed", "q_rows", "scaled", "norm", "scores_keys"):
        inline(schedule, name)
    last = "mixed" if "mixed" in stages(schedule) else "out"
    for name in ("q_bits", "k_bits"):
        if name in stages(schedule):
            bind_elements(schedule, name)
    if "kv" in stages(schedule):
        tile_sum(schedule, "kv", copied="v")
        tile_sum(schedule, "attend", copied="kv", store=last)
    else:
        tile_sum(schedule, "attend", copied="v", made="scores", store=last)
    for name in ("squares", "out"):
        if last == "mixed":
            bind_elements(schedule, name)


def _make(schedule: Any, name: str, loop: Any, columns: int) -> None:
    block = schedule.get_sblock(name)
    depth = len(schedule.get_loops(block))
    schedule.set_scope(block, 0, "shared")
    schedule.compute_at(block, loop, preserve_unit_loops=True)
    _cooperate(schedule, block, depth, columns)


def _copy(schedule: Any, block: Any, operand: str, loop: Any, columns: int) -> None:
    names = [str(region.source.name) for region in schedule.get(block).reads]
    copy = schedule.cache_read(block, names.index(operand), "shared", consumer_blocks=[block])
    depth = len(schedule.get_loops(copy))
    schedule.compute_at(copy, loop, preserve_unit_loops=True)
    _cooperate(schedule, copy, depth, columns)


def _cooperate(schedule: Any, block: Any, depth: int, columns: int) -> None:
    """Spread a stage's own loops, its last `depth`, over the threads of the block."""
    own = schedule.fuse(*schedule.get_loops(block)[-depth:])
    _spread(schedule, own, {"": None, "threadIdx.y": ROWS, "threadIdx.x": columns})


def _spread(schedule: Any, loop: Any, axes: dict[str, int | None]) -> None:
    parts = schedule.split(loop, list(axes.values()))
    for part, axis in zip(parts, axes, strict=True):
        if axis:
            schedule.bind(part, axis)
