"""How long the kernels of a compiled model are tuned, and where what was measured is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TuneOptions:
    """Of `export.tune`.

    Attributes:
        seconds: that measurements may take, in all; 0 is no tuning.
        database: a folder that keeps the measurements between conversions; None is the user's cache.
        batch: the batch size that is timed, where the batch is open.
    """

    seconds: float = 0.0
    database: str | None = None
    batch: int = 1

    def folder(self) -> Path:
        """Where the measurements are kept."""
        import os

        if self.database is not None:
            return Path(self.database)
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(cache) / "paring" / "tvm"
