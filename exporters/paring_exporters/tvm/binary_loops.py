"""What the CPU schedules of the binary kernels share: tiles of columns, vectors, threads."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from paring_exporters.tvm.binary_pack import LANES

# Four registers of 512 bits: enough independent sums to hide an addition's latency.
COLUMNS_AT_ONCE = 64


def extent(schedule: Any, loop: Any) -> int:
    """How many iterations a loop has."""
    return int(schedule.get(loop).extent)


def column_tile(columns: int) -> int:
    """The largest divisor of `columns` up to 64; a multiple of 16 where there is one."""
    fitting = [size for size in range(1, min(columns, COLUMNS_AT_ONCE) + 1) if columns % size == 0]
    whole = [size for size in fitting if size % LANES == 0]
    return (whole or fitting)[-1]


def vectorise(schedule: Any, loop: Any, most: int = LANES) -> None:
    """Run a loop in vectors of up to `most` lanes, a power of two that divides it; unroll what is around."""
    size = extent(schedule, loop)
    lanes = next(lanes for lanes in (16, 8, 4, 2, 1) if lanes <= most and size % lanes == 0)
    outer, inner = schedule.split(loop, [None, lanes])
    schedule.unroll(outer)
    schedule.vectorize(inner)


def finish_tile(schedule: Any, block: Any, reduction: Any, store: Any) -> None:
    """Clear and store a tile [rows, columns] summed in registers: rows unrolled, columns in vectors."""
    for stage in (schedule.decompose_reduction(block, reduction), store):
        *_, rows, columns = schedule.get_loops(stage)
        schedule.unroll(rows)
        vectorise(schedule, columns)


def parts_for(schedule: Any, outer: Sequence[Any], rows: Any, threads: int) -> int:
    """In how many parts to split the rows so that each thread has work: 1 where outer loops suffice."""
    if prod(extent(schedule, loop) for loop in outer) >= threads:
        return 1
    return min(threads, extent(schedule, rows))
