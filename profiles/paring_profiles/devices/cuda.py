"""NVIDIA GPUs, through ONNX Runtime's CUDA provider."""

from __future__ import annotations

import ctypes
import importlib.util

_PROVIDER = "CUDAExecutionProvider"


def why_not() -> str | None:
    """Return None when a GPU can be measured, otherwise what would mend it."""
    return _no_gpu() or _no_provider()


def _no_gpu() -> str | None:
    """Ask NVIDIA's driver for its devices."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver found (libcuda.so.1): install one on a machine with an NVIDIA GPU"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value == 0:
        return f"NVIDIA's driver is there, and finds no GPU (status {status}): see nvidia-smi"
    return None


def _no_provider() -> str | None:
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        if _PROVIDER in onnxruntime.get_available_providers():
            return None
    return "onnxruntime-gpu is missing: pip uninstall -y onnxruntime, then pip install 'paring[ort-gpu]'"
