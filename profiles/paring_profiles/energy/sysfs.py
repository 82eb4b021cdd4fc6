"""Small files under `/sys`, where Linux tells its sensors."""

from __future__ import annotations

import os
import re
from pathlib import Path


def root() -> Path:
    """`/sys`, or where the environment's PARING_SYSFS says that the host's is, as in a container."""
    return Path(os.environ.get("PARING_SYSFS") or "/sys")


def text(path: Path) -> str | None:
    """What a file says, None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def number(path: Path) -> float | None:
    """A file's number, None when there is none."""
    said = text(path)
    try:
        return None if said is None else float(said)
    except ValueError:
        return None


def folders(path: Path, pattern: str) -> list[Path]:
    """Entries of a folder in the order of their numbers: hwmon2 before hwmon10, intel-rapl:0 before :0:0."""
    return sorted(path.glob(pattern), key=_numbers)


def _numbers(path: Path) -> tuple[list[int], str]:
    return [int(found) for found in re.findall(r"\d+", path.name)], path.name
