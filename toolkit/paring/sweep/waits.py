"""How long a job waited for its turn on the machine: told by its process, read by the one that limits it.

Each wait is two lines of a file, when it began and when it ended, by `time.monotonic`, which all processes of
a machine share.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_file: Path | None = None


def tell_into(file: Path) -> None:
    """From now on, write this process's waits into a file."""
    global _file  # a process has one job
    _file = file


@contextmanager
def waiting() -> Iterator[None]:
    """Inside, this process waits."""
    _note()
    try:
        yield
    finally:
        _note()


def _note() -> None:
    if _file is not None:
        with _file.open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic()}\n")


def waited_s(file: Path, now_s: float) -> float:
    """Seconds that were waited until `now_s`, one that lasts among them."""
    if not file.is_file():
        return 0.0
    whole, _, _ = file.read_text(encoding="utf-8").rpartition("\n")  # a line may be half there
    times = [float(line) for line in whole.splitlines()]
    ends = [*times[1::2], now_s]
    return sum(max(0.0, end - begin) for begin, end in zip(times[::2], ends, strict=False))
