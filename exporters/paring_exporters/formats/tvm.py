"""TVM: the whole model as one shared library, through relax, with kernels of ours where there are any."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import nn

from paring_runtimes.errors import ExportError, MissingExtraError

from ..given.graph import GraphRequest
from ..request import Exported, Request, Wanted

NAME = "tvm"
ENTRY = "model.so"


def why_not() -> str | None:
    """None when compiling with TVM works here, otherwise the line that mends it."""
    return "tvm missing: pip install 'paring[tvm]'" if find_spec("tvm") is None else None


def export(model: nn.Module, request: Request, folder: Path) -> Exported:
    """Compile `model` into `model.so` in `folder`.

    Raises:
        ExportError: torch cannot export the model, or TVM not compile it; the message says where and why.
        MissingExtraError: the `tvm` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("compiling with TVM", "tvm")
    if reason := refusal(request):
        raise ExportError(reason)
    from ..tvm_graph.whole import write

    return write(model, request, folder / ENTRY)


def refusal(wanted: Wanted) -> str | None:
    """Why what is wanted is never compiled; None where nothing speaks against it."""
    if wanted.precision != "fp32":
        return (
            f"tvm: export.precision {wanted.precision} is not computed on CPUs: fp32 is; shift_linear has"
            " 4-bit weights in fp32 models too"
        )
    if "image_size" in wanted.dynamic:
        return (
            "tvm: kernels are compiled for one image size: remove image_size from export.dynamic, and set"
            " export.image_size"
        )
    if wanted.shift == "dequantize":
        return "tvm: export.shift is float or integer here, not dequantize, which is a form of ONNX"
    return None


def export_graph(request: GraphRequest, folder: Path) -> Exported:
    """Compile a graph from elsewhere into `model.so` in `folder`.

    Raises:
        ExportError: TVM cannot import or compile it; the message says which node and why.
        MissingExtraError: the `tvm` or the `onnx` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("compiling with TVM", "tvm")
    if find_spec("onnx") is None:
        raise MissingExtraError("reading an ONNX file", "onnx")
    from ..tvm_graph.from_onnx import write

    return write(request, folder / ENTRY)
