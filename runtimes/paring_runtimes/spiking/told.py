"""What a NIR file says of how it wants to be run: the outermost graph's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.spiking.encoders import CODINGS


@dataclass(frozen=True)
class Told:
    """Attributes: `steps`, T; `coding`, see `encoders`; `scale` and `seed`, the coding's.

    All from metadata of those names; `steps` is None where the file does not say.
    """

    steps: int | None = None
    coding: str = "constant"
    scale: float = 1.0
    seed: int = 0


def told_by(path: Path, metadata: Mapping[str, Any]) -> Told:
    """Read the metadata.

    Raises:
        EngineError: a value that cannot be meant.
    """
    coding = metadata.get("coding", "constant")
    if coding not in CODINGS:
        raise EngineError(f"{path}: metadata: coding is {coding!r}; expected one of {', '.join(CODINGS)}")
    readout = metadata.get("readout", "mean")
    if readout != "mean":
        raise EngineError(f"{path}: metadata: readout is {readout!r}; expected 'mean'")
    steps = metadata.get("steps")
    return Told(
        None if steps is None else int(_number(path, "steps", steps, 1)),
        str(coding),
        _number(path, "scale", metadata.get("scale", 1.0), float(np.finfo(np.float32).tiny)),
        int(_number(path, "seed", metadata.get("seed", 0), 0)),
    )


def _number(path: Path, key: str, value: Any, least: float) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iuf" or not array.reshape(-1)[0] >= least:
        raise EngineError(f"{path}: metadata: {key} is {value!r}; expected a number of at least {least:g}")
    number: float = array.reshape(-1)[0].item()
    return number
