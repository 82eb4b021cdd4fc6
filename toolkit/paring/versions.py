"""Versions of the tools that take part, by distribution name."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

TOOLS = (
    "paring", "numpy", "torch", "torchvision", "timm", "transformers", "gguf", "accelerate",
    "optimum", "optimum-onnx", "onnx", "onnxscript", "onnxslim", "onnxruntime", "onnxruntime-gpu",
    "tensorrt", "apache-tvm",
)  # fmt: skip


def tool_versions() -> dict[str, str]:
    """What is installed of TOOLS, and Python."""
    return {"python": platform.python_version(), **versions_of(TOOLS)}


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """What is installed of `names`."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
