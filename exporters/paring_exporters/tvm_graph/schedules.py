"""What relax itself lowered, scheduled plainly: threads over the outer loops, vectors over the innermost."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import Schedule

LANES = 16


@tvm.transform.module_pass(opt_level=0, name="ScheduleRest")
class ScheduleRest:
    """Schedule every function that is still a nest of blocks."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def transform_module(self, module: Any, context: Any) -> Any:
        """The module with its functions scheduled."""
        for name, function in list(module.functions_items()):
            if isinstance(function, tirx.PrimFunc) and "op_pattern" not in (function.attrs or {}):
                module[name] = scheduled(function)
        return module


def scheduled(function: Any) -> Any:
    """A function whose blocks are spread over threads; as it was where its loops are none that can be."""
    try:
        schedule = Schedule(function)
    except (RuntimeError, ValueError, tvm.error.TVMError):
        return function
    return schedule.mod["main"]


def _blocks(schedule: Any) -> list[Any]:
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))
