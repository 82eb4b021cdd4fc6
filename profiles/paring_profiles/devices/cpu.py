"""The CPU of this machine, through ONNX Runtime."""

from __future__ import annotations

import importlib.util


def why_not() -> str | None:
    """Return None when the CPU can be measured, otherwise what would mend it."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed: pip install 'paring[ort]'"
    return None
