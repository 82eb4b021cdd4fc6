"""Whether a kernel is used: only where a measurement on this CPU shows that it wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_exporters.tvm.shift_database import SHIPPED, Database
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_exporters.tvm.target import describe


@dataclass(frozen=True)
class Choice:
    """`schedule` is None when the kernel is not chosen; `reason` says why, or why it is."""

    schedule: Schedule | None
    reason: str


def choose(shape: ShiftShape, target: Any, folders: Sequence[str | Path] = (SHIPPED,)) -> Choice:
    """Return the schedule of a shape on a target, or the reason why the kernel is not chosen.

    Args:
        shape: rows, input and output features, bits.
        target: what is compiled for; only measurements of the same target count.
        folders: databases, the most trusted first (an artifact's own before the one that ships).
    """
    key = describe(target)
    for folder in folders:
        database = Database(folder)
        found = database.comparison(key, shape)
        if found is not None:
            figures = f"{found.median_ms:.4g} ms, {found.baseline}: {found.baseline_ms:.4g} ms"
            if found.ratio < 1:
                return Choice(None, f"slower than the baseline on {key}: {figures} ({found.ratio:.2f} times)")
            return Choice(found.schedule, f"{found.ratio:.2f} times as fast on {key}: {figures}")
        if database.of(key, shape):
            return Choice(None, f"timed on {key}, not yet against the baseline")
    return Choice(None, f"untuned: {shape} was never timed on {key}")
