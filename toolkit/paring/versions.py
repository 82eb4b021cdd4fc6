"""Versions of the tools that take part, by distribution name."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

TOOLS = (
    "paring", "numpy", "torch", "torchvision", "timm", "transformers", "gguf", "accelerate",
    "optimum", "optimum-onnx", "onnx", "onnxscript", "onnxslim", "onnxruntime", "onnxruntime-gpu",
    "tensorrt", "apache-tvm",
)  # fmt: skip


def tool_versions() -> dict[str, str]:
    """What is installed of TOOLS, and Python."""
    found = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
