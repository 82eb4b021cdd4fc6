"""TensorRT: an engine where there is a GPU to build it; everywhere ONNX that it takes, with a build kit."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import nn

from paring_runtimes.errors import MissingExtraError

from ..given.graph import GraphRequest
from ..request import Exported, Request

NAME = "tensorrt"


def why_not() -> str | None:
    """None when a kit can be written here (without TensorRT or a GPU), otherwise the line that mends it."""
    missing = [name for name in ("onnx", "onnxscript", "onnxslim") if find_spec(name) is None]
    return f"{', '.join(missing)} missing: pip install 'paring[onnx]'" if missing else None


def export(model: nn.Module, request: Request, folder: Path) -> Exported:
    """Write `model.onnx` and the build kit into `folder`, and `engine.plan` where it can be built and run.

    Raises:
        ExportError: torch cannot export the model, or TensorRT's release does not take it.
        MissingExtraError: the `onnx` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("exporting for TensorRT", "onnx")
    from ..tensorrt.export import export as write

    return write(model, request, folder)


def export_graph(request: GraphRequest, folder: Path) -> Exported:
    """Write a graph from elsewhere and its build kit into `folder`; see `export`.

    Raises:
        ExportError: TensorRT's release does not take it.
        MissingExtraError: the `onnx` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("exporting for TensorRT", "onnx")
    from ..tensorrt.export import export_graph as write

    return write(request, folder)
