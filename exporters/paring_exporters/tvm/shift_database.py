"""Measurements of shift-linear kernels, one JSON line each, in a file that a kill cannot spoil."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_exporters.tvm.record_file import RecordFile
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_runtimes.errors import InputError

FILE = "shift_linear.jsonl"
SHIPPED = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Timing:
    """A schedule's median time on a target (`target.describe`)."""

    target: str
    shape: ShiftShape
    schedule: Schedule
    median_ms: float


@dataclass(frozen=True)
class Comparison:
    """The best schedule and the baseline, timed in turns: medians, and the median ratio of the turns."""

    target: str
    shape: ShiftShape
    schedule: Schedule
    median_ms: float
    baseline: str
    baseline_ms: float
    ratio: float


class Database:
    """The records of a folder. `timings` and `comparisons` are in the order measured."""

    def __init__(self, folder: str | Path) -> None:
        """Open the folder's file, or begin one; nothing is written yet.

        Raises:
            InputError: a line that is not the last one is no record.
        """
        self._file = RecordFile(Path(folder) / FILE)
        self.timings: list[Timing] = []
        self.comparisons: list[Comparison] = []
        for line, where in self._file.lines():
            self._keep(_record(line, where))

    def add(self, record: Timing | Comparison) -> None:
        """Append a record; on return it is on the disk."""
        self._file.append(record)
        self._keep(record)

    def of(self, target: str, shape: ShiftShape) -> list[Timing]:
        """Return a shape's timings on a target."""
        return [t for t in self.timings if (t.target, t.shape) == (target, shape)]

    def comparison(self, target: str, shape: ShiftShape) -> Comparison | None:
        """Return a shape's newest comparison on a target."""
        found = [c for c in self.comparisons if (c.target, c.shape) == (target, shape)]
        return found[-1] if found else None

    def _keep(self, record: Timing | Comparison) -> None:
        if isinstance(record, Timing):
            self.timings.append(record)
        else:
            self.comparisons.append(record)


def _record(line: bytes, where: str) -> Timing | Comparison:
    try:
        fields: dict[str, Any] = json.loads(line)
        kind = {"Timing": Timing, "Comparison": Comparison}[fields.pop("kind")]
        fields["shape"] = ShiftShape(**fields["shape"])
        fields["schedule"] = Schedule(**fields["schedule"])
        return kind(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: no record of a measurement: {error}") from error
