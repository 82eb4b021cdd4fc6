"""What a check may need, each a line or None."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path

from paring_runtimes.cuda.driver import why_no_bindings, why_no_gpu


def first(*reasons: str | None) -> str | None:
    """The first thing that is missing."""
    return next((reason for reason in reasons if reason is not None), None)


def gpu() -> str | None:
    return why_no_gpu()


def bindings() -> str | None:
    return why_no_bindings()


def package(name: str) -> str | None:
    """Whether a package imports."""
    try:
        found = importlib.util.find_spec(name)
        if found is None:
            return f"{name} is not installed"
        importlib.import_module(name)
    except Exception as error:
        return f"{name} does not import: {' '.join(str(error).split())[:200]}"
    return None


def packages(*names: str) -> str | None:
    return first(*(package(name) for name in names))


def torch_cuda() -> str | None:
    missing = package("torch")
    if missing is not None:
        return missing
    import torch

    return None if torch.cuda.is_available() else "PyTorch sees no CUDA GPU"


def nvcc() -> str | None:
    found = shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").is_file()
    return None if found else "nvcc is not installed"


def provider(name: str) -> str | None:
    """Whether ONNX Runtime was built with an execution provider."""
    missing = package("onnxruntime")
    if missing is not None:
        return missing
    import onnxruntime

    if name in onnxruntime.get_available_providers():
        return None
    return f"this onnxruntime has no {name}: pip uninstall -y onnxruntime, then pip install 'paring[ort-gpu]'"
