"""Calibration inputs in the form that onnxruntime.quantization reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def reader(name: str, batches: Sequence[np.ndarray]) -> Any:
    """A CalibrationDataReader over `batches` of the input `name`."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._rest, None)
            return None if batch is None else {name: batch}

    return Reader()
