"""Measurements as JSON lines in a file that a kill cannot spoil.

A line is written with one call and synchronised before the next measurement begins. A last line that was
cut off is dropped when the file is opened again.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class RecordFile:
    """The lines of a file; nothing is written before the first is appended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole_bytes = 0

    def lines(self) -> Iterator[tuple[bytes, str]]:
        """Every whole line, and where it stands. To be exhausted before anything is appended."""
        data = self.path.read_bytes() if self.path.is_file() else b""
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break
            yield line, f"{self.path}:{number}"
            self._whole_bytes += len(line)

    def append(self, record: DataclassInstance) -> None:
        """Add a record with its class's name as `kind`; on return it is on the disk."""
        line = (json.dumps({"kind": type(record).__name__, **dataclasses.asdict(record)}) + "\n").encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.truncate(self._whole_bytes)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._whole_bytes += len(line)
