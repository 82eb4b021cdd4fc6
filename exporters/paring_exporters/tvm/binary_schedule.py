"""How binary attention runs on a CPU: a thread takes a head at a time, so that its products stay in cache."""

from __future__ import annotations

from typing import Any

from paring_exporters.tvm.binary_loops import column_tile, extent, finish_tile, vectorise
from paring_exporters.tvm.binary_pack import LANES
from paring_exporters.tvm.matadd import schedule_look_up

ROWS_AT_ONCE = 4  # of the quadratic form's result


def schedule_linear(schedule: Any) -> None:
    """Schedule the linear form of `attention_definition`, with tables."""
    head = _begin_heads(schedule, "out")
    tail = _schedule_norm(schedule, head)
    if schedule.get(schedule.get_sblock("attend")).init is None:
        schedule.compute_inline(schedule.get_sblock("attend"))
        schedule_look_up(schedule, tail, "kv_sums")
    else:
        _at(schedule, "attend", head)
        schedule_look_up(schedule, "attend", "kv_sums")
        vectorise(schedule, schedule.get_loops(schedule.get_sblock(tail))[-1])
    _at(schedule, "kv", head)
    schedule_look_up(schedule, "kv", "v_sums")
    inline(schedule, "k_bits_transposed")
    _schedule_columns(schedule, head)
    _schedule_rows(schedule, "q_bits", head)


def schedule_quadratic(schedule: Any) -> None:
    """Schedule the quadratic form: scores of a few queries, then their rows of the result in registers."""
    for name in ("q_rows", "scaled", "norm"):
        inline(schedule, name)
    head = _begin_heads(schedule, "attend")
    block = schedule.get_sblock("attend")
    n, i, m = schedule.get_loops(block)[-3:]
    tiles, rows = schedule.split(n, [None, ROWS_AT_ONCE])
    outer, columns = schedule.split(i, [None, column_tile(extent(schedule, i))])
    schedule.reorder(tiles, outer, m, rows, columns)
    store = schedule.cache_write(block, 0, "local")
    schedule.reverse_compute_at(store, outer, preserve_unit_loops=True)
    _at(schedule, "scores", tiles)
    for name in ("mixed", "squares", "out"):
        if name in stages(schedule):
            schedule.reverse_compute_at(schedule.get_sblock(name), tiles, preserve_unit_loops=True)
    schedule.unroll(rows)
    vectorise(schedule, columns)
    finish_tile(schedule, block, m, store)
    _at(schedule, "scores_keys", head)
    for name in ("k_bits", "q_bits"):
        _schedule_rows(schedule, name, head)


def stages(schedule: Any) -> set[str]:
    """Names of a schedule's stages."""
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return {schedule.get(block).name_hint for block in blocks}


def inline(schedule: Any, name: str) -> None:
    """Compute a stage where it is used, if the schedule has it."""
    if name in stages(schedule):
        schedule.compute_inline(schedule.get_sblock(name))


def _begin_heads(schedule: Any, name: str) -> Any:
    """Fuse batch and heads of a stage into one parallel loop and return it."""
    batch, heads, *_ = schedule.get_loops(schedule.get_sblock(name))
    head = schedule.fuse(batch, heads)
    schedule.parallel(head)
    return head


def _at(schedule: Any, name: str, loop: Any) -> None:
    schedule.compute_at(schedule.get_sblock(name), loop, preserve_unit_loops=True)


def _schedule_norm(schedule: Any, head: Any) -> str:
    """Schedule the division by the norm, if there is one; return the stage that computes what it divides."""
    if "mixed" not in stages(schedule):
        return "out"
    inline(schedule, "norm")
    *_, row, column = schedule.get_loops(schedule.get_sblock("out"))
    _in_lanes(schedule, "squares", row)
    _at(schedule, "mixed", head)
    vectorise(schedule, column)
    return "mixed"


def _schedule_columns(schedule: Any, head: Any) -> None:
    """Pack keys along tokens: a lane is a column."""
    _at(schedule, "k_bits", head)
    inline(schedule, "k_unpacked")
    vectorise(schedule, schedule.get_loops(schedule.get_sblock("k_bits"))[-1])


def _schedule_rows(schedule: Any, name: str, head: Any) -> None:
    """Pack along the dim, if the schedule does that."""
    if name in stages(schedule):
        _in_lanes(schedule, name, head)


def _in_lanes(schedule: Any, name: str, loop: Any) -> None:
    """Compute a sum at a loop, in 16 partial sums where its extent allows: LLVM must not reorder a sum."""
    block = schedule.get_sblock(name)
    *_, inner = schedule.get_loops(block)
    if extent(schedule, inner) % LANES:
        _at(schedule, name, loop)
        return
    _, lanes = schedule.split(inner, [None, LANES])
    partial = schedule.rfactor(lanes, factor_axis=-1)
    _at(schedule, name, loop)
    schedule.compute_at(partial, schedule.get_loops(block)[-2], preserve_unit_loops=True)
    lane, rest = schedule.get_loops(partial)[-2:]
    schedule.reorder(rest, lane)
    schedule.vectorize(lane)
