"""Times of kernels by target, extents and tiling, one JSON line each, kept between conversions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_runtimes.errors import InputError

from ..tvm.record_file import RecordFile
from .kernels.dense import Tiling

FILE = "kernels.jsonl"


@dataclass(frozen=True)
class Timing:
    """A tiling's time. `kernel` is the kind with its extents, as text; `target` with TVM's version."""

    target: str
    kernel: str
    tiling: Tiling
    median_ms: float


@dataclass(frozen=True)
class Duel:
    """The fastest tiling against the untuned one, timed in turn: ratios above 1 mean that it is faster."""

    target: str
    kernel: str
    tiling: Tiling
    against: Tiling
    ratio: float
    low: float  # the quartiles of the turns
    high: float


class Database:
    """The records of a folder."""

    def __init__(self, folder: Path) -> None:
        """Open the folder's file, or begin one; nothing is written yet.

        Raises:
            InputError: a line that is not the last one is no record.
        """
        self._file = RecordFile(folder / FILE)
        self._timings: dict[tuple[str, str, Tiling], Timing] = {}
        self._duels: dict[tuple[str, str], Duel] = {}
        for line, where in self._file.lines():
            self._keep(_record(line, where))

    def add(self, record: Timing | Duel) -> None:
        """Append a record; on return it is on the disk."""
        self._file.append(record)
        self._keep(record)

    def timing(self, target: str, kernel: str, tiling: Tiling) -> Timing | None:
        """What a tiling took."""
        return self._timings.get((target, kernel, tiling))

    def duel(self, target: str, kernel: str) -> Duel | None:
        """The newest comparison of a kernel."""
        return self._duels.get((target, kernel))

    def _keep(self, record: Timing | Duel) -> None:
        if isinstance(record, Timing):
            self._timings[record.target, record.kernel, record.tiling] = record
        else:
            self._duels[record.target, record.kernel] = record


def _record(line: bytes, where: str) -> Timing | Duel:
    try:
        fields: dict[str, Any] = json.loads(line)
        kind = {"Timing": Timing, "Duel": Duel}[fields.pop("kind")]
        tilings = {key: Tiling(*value) for key, value in fields.items() if key in ("tiling", "against")}
        return kind(**{**fields, **tilings})
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: no record of a measurement: {error}") from error
