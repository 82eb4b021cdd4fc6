"""Is there an NVIDIA GPU? Asked of the driver itself, before any library that needs it is loaded."""

from __future__ import annotations

import ctypes
import importlib.util

_LIBRARY = "libcuda.so.1"


def why_no_gpu() -> str | None:
    """Return None where the driver sees a GPU, otherwise one line that says what is missing.

    TensorRT's runtime ends the process when it is made without a driver, so that this comes first.
    """
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return f"no NVIDIA driver here ({_LIBRARY}): it takes a machine with an NVIDIA GPU and its driver"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value == 0:
        return f"NVIDIA's driver is here and finds no GPU (CUDA status {status}): see nvidia-smi"
    return None


def why_no_bindings() -> str | None:
    """Return None where `cuda.bindings` is installed, otherwise one line that names the command."""
    try:
        found = importlib.util.find_spec("cuda.bindings")
    except ModuleNotFoundError:
        found = None
    return None if found is not None else "cuda-bindings is missing: pip install 'paring[tensorrt]'"
