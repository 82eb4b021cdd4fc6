"""The ranges of activations over calibration inputs, by onnxruntime.quantization."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# ONNX Runtime's entropy calibration takes as many bins as codes, 128, of which no threshold but the whole
# range is left to choose from; it would be min-max by another name.
ENTROPY = {"num_bins": 512, "num_quantized_bins": 128}


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


def ranges(
    file: Path, name: str, batches: Sequence[np.ndarray], method: Any, kinds: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """The lowest and the highest value of each activation, as the method finds them.

    Args:
        file: an ONNX graph, with weights inside or in `FILE.data`.
        name: its input.
        batches: of the input, [B, ...].
        method: an `onnxruntime.quantization.CalibrationMethod`.
        kinds: types of the nodes whose inputs and outputs are asked for.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            file,
            list(kinds),
            str(Path(folder) / "augmented.onnx"),
            calibrate_method=method,
            use_external_data_format=file.with_name(f"{file.name}.data").is_file(),
            extra_options=ENTROPY if method is CalibrationMethod.Entropy else {},
        )
        calibrator.collect_data(reader(name, batches))
        found = calibrator.compute_data().data
    return {
        one: (np.asarray(of.range_value[0]).item(), np.asarray(of.range_value[1]).item())
        for one, of in found.items()
    }
