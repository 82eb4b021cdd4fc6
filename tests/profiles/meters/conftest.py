"""A `/sys` of one's own, as kernels lay it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `/sys`, which meters read in this test and in processes that it starts."""
    root = tmp_path / "sys"
    root.mkdir()
    monkeypatch.setenv("PARING_SYSFS", str(root))
    return root


@pytest.fixture
def tell(sysfs: Path) -> Callable[..., Path]:
    """Return `tell(folder, FILE=value, ...)`, which writes files under `/sys` and returns the folder."""

    def write(folder: str, **files: object) -> Path:
        where = sysfs / folder
        where.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            fresh = where / f".{name}"
            fresh.write_text(f"{value}\n")
            fresh.replace(where / name)
        return where

    return write


@pytest.fixture
def package(tell: Callable[..., Path]) -> Callable[..., Path]:
    """Return `package(number, energy_uj)`: a RAPL zone with a core and memory below it."""

    def write(number: int = 0, energy_uj: int = 5_000_000) -> Path:
        limit = 262143328850
        at = f"class/powercap/intel-rapl:{number}"
        for sub, (name, share) in enumerate({"core": 0.5, "dram": 0.1}.items()):
            tell(f"{at}:{sub}", name=name, energy_uj=int(energy_uj * share), max_energy_range_uj=limit)
        return tell(at, name=f"package-{number}", energy_uj=energy_uj, max_energy_range_uj=limit)

    return write
