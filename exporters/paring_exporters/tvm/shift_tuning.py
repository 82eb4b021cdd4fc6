"""Try the schedules of a shape and keep what they cost.

The kernels have four choices, so that every schedule worth it is tried: 4 to 36 a shape, a tenth of a
second each and the time to compile. TVM's own tuner was tried first: in 0.27.0.post1 `tune_tir` ends in a
segmentation fault (in `ToJSONGraph`, when a TuneContext is made), for a trivial function too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paring_exporters.tvm.build import build, empty, tensor
from paring_exporters.tvm.shift_baseline import BASELINE, baseline_call
from paring_exporters.tvm.shift_codes import LANES, unit_bytes
from paring_exporters.tvm.shift_database import Comparison, Database, Timing
from paring_exporters.tvm.shift_linear import shift_linear
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_exporters.tvm.target import VNNI, describe, has
from paring_exporters.tvm.turns import median_ms, turn_ms

Call = Callable[[], object]
# 32 vector registers less the decoded weights, a table and what is on its way.
_REGISTERS = 26
_SECONDS = 0.1
_TURNS = 15
# Threads of the engine before wait for work in a loop; ONNX Runtime's for some 65 ms.
_SETTLE_SECONDS = 0.1


def candidates(shape: ShiftShape, target: Any) -> list[Schedule]:
    """Return the schedules that are worth a try, in a fixed order."""
    if not has(target, *VNNI):
        found = [Schedule(min(rows, shape.rows), 1, 1, s) for rows in (1, 2, 4) for s in ("columns", "rows")]
        return list(dict.fromkeys(found))
    blocks = sorted({min(rows, shape.rows) for rows in (4, 8, 12, 14, 16)})
    found = [
        Schedule(rows, columns, unroll, split)
        for rows in blocks
        for columns in (1, 2, 4)
        for unroll in (1, 2, 4, 8)
        for split in ("columns", "rows")
    ]
    return [schedule for schedule in found if _fits(shape, schedule)]


def _fits(shape: ShiftShape, schedule: Schedule) -> bool:
    parts = 1 if shape.bits == 4 else 2
    sums = schedule.row_block * schedule.column_blocks * parts
    if sums > _REGISTERS or shape.blocks % schedule.column_blocks:
        return False
    if schedule.unroll > (8 if sums <= 4 else 2) or schedule.column_blocks > (4 if sums <= 4 else 2):
        return False
    # Threads that share out one block of rows, or quantise thousands of rows each, cannot win.
    return shape.rows > 2 * schedule.row_block if schedule.split == "rows" else shape.rows <= 512


def kernel_call(shape: ShiftShape, schedule: Schedule, target: Any) -> Call:
    """Compile a kernel and return a call of it on random operands that stay in place."""
    rng = np.random.default_rng(0)
    operands = [
        tensor(rng.standard_normal((shape.rows, shape.in_features)).astype(np.float32)),
        tensor(rng.integers(0, 256, (shape.blocks, shape.units, unit_bytes(shape.bits)), np.uint8)),
        tensor(np.full(shape.blocks * LANES, 1e-3, np.float32)),
        tensor(np.zeros(shape.blocks * LANES, np.float32)),
        empty((shape.rows, shape.out_features), "float32"),
    ]
    kernel = build({"shift_linear": shift_linear("shift_linear", shape, schedule, target)}, target)
    run = kernel["shift_linear"]
    return lambda: run(*operands)


def measure(shape: ShiftShape, schedule: Schedule, target: Any) -> float:
    """Return a kernel's median time, ms, compiled here and now."""
    return median_ms(kernel_call(shape, schedule, target), _SECONDS)


def tune(
    shape: ShiftShape,
    target: Any,
    folder: str | Path,
    timed: Callable[[ShiftShape, Schedule, Any], float] = measure,
) -> Timing:
    """Time every candidate that the folder's database lacks; return the fastest of them all.

    Killed at any moment, it goes on where it was: no measurement is repeated, and none is lost.
    """
    database, key = Database(folder), describe(target)
    known = {timing.schedule for timing in database.of(key, shape)}
    for schedule in candidates(shape, target):
        if schedule not in known:
            database.add(Timing(key, shape, schedule, timed(shape, schedule, target)))
    return min(database.of(key, shape), key=lambda timing: timing.median_ms)


def compare(shape: ShiftShape, target: Any, folder: str | Path, threads: int) -> Comparison:
    """Time the fastest known schedule and ONNX Runtime's MatMulNBits in turns, and record both."""
    best = tune(shape, target, folder)
    sides = (kernel_call(shape, best.schedule, target), baseline_call(shape, threads))
    settle = _SETTLE_SECONDS
    times = np.array([[turn_ms(side, settle / 2, settle) for side in sides] for _ in range(_TURNS)])
    ours, theirs = np.median(times, axis=0)
    ratio = float(np.median(times[:, 1] / times[:, 0]))
    made = Comparison(
        best.target, shape, best.schedule, round(float(ours), 6), BASELINE, round(float(theirs), 6), ratio
    )
    Database(folder).add(made)
    return made
