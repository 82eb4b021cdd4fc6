"""ExecuTorch: the whole model as one program, its products computed by XNNPACK on the CPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import nn

from paring_runtimes.errors import ExportError, MissingExtraError

from ..request import Exported, Request, Wanted

NAME = "executorch"
ENTRY = "model.pte"


def why_not() -> str | None:
    """None when lowering to ExecuTorch works here, otherwise the line that mends it."""
    if find_spec("executorch") is None:
        return "executorch missing: pip install 'paring[executorch]'"
    return None


def export(model: nn.Module, request: Request, folder: Path) -> Exported:
    """Lower `model` into `model.pte` in `folder`.

    Raises:
        ExportError: torch cannot export the model, or an operator has no kernel in ExecuTorch.
        MissingExtraError: the `executorch` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("lowering to ExecuTorch", "executorch")
    if reason := refusal(request):
        raise ExportError(reason)
    from ..executorch_graph.whole import write

    return write(model, request, folder / ENTRY)


def refusal(wanted: Wanted) -> str | None:
    """Why what is wanted is never written; None where nothing speaks against it."""
    if wanted.precision != "fp32":
        return f"executorch: export.precision {wanted.precision}: programs are written in fp32"
    if "image_size" in wanted.dynamic:
        return (
            "executorch: a program's memory is planned for one image size: remove image_size from"
            " export.dynamic, and set export.image_size"
        )
    return None
