"""How long a step of a file is; see `paring_runtimes.nir.time_step`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paring_runtimes.errors import EngineError
from paring_runtimes.nir import Flat, NirRefused
from paring_runtimes.nir import time_step as nir


def step_of(path: Path, flat: Flat, metadata: Mapping[str, Any], asked: float | None) -> float:
    """Return dt of the graph in `path`.

    Raises:
        EngineError: it is no number above 0, or no step of this graph; with the node.
    """
    try:
        return nir.step_of(flat, metadata, asked)
    except NirRefused as error:
        raise EngineError(f"{path}: {error}") from None
