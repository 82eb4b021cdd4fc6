"""What relax lowered, scheduled plainly: threads over outer loops; LLVM makes vectors of inner ones."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import Schedule

_SPATIAL = 0  # IterVar.DataPar


def _schedule_rest(module: Any, context: Any) -> Any:
    """Schedule every function that is a nest of blocks; kernels of ours, which are none, stay as they are."""
    for name, function in list(module.functions_items()):
        if isinstance(function, tirx.PrimFunc) and not function.attrs.get("paring", False):
            module[name] = scheduled(function)
    return module


def scheduled(function: Any) -> Any:
    """Return a function whose blocks are spread over threads; one that calls a library stays as it is."""
    if function.body.block.name_hint != "root":
        return function
    schedule = Schedule(function)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        loops = schedule.get_loops(block)
        kinds = [int(var.iter_type) for var in schedule.get(block).iter_vars]
        if len(loops) != len(kinds):
            continue
        spatial = next((i for i, kind in enumerate(kinds) if kind != _SPATIAL), len(kinds))
        # The innermost loop is left to vectors, where nothing is summed inside of it.
        outer = loops[: spatial - 1] if spatial == len(loops) and spatial > 1 else loops[:spatial]
        if outer:
            schedule.parallel(schedule.fuse(*outer))
    return schedule.mod["main"].with_attrs(dict(function.attrs))


schedule_rest = tvm.transform.module_pass(_schedule_rest, opt_level=0, name="ScheduleRest")
