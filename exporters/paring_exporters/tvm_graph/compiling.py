"""A relax module becomes machine code."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.backend.cpu_generic import pipeline

from paring_runtimes.errors import ExportError

from .schedules import schedule_rest


def compiled(module: Any, target: Any) -> Any:
    """Legalise, fuse and compile a module of relax.

    Raises:
        ExportError: TVM refused it.
    """
    steps = [
        *pipeline.library_dispatch_passes(target),
        *pipeline.legalize_passes(target),
        relax.transform.DeadCodeElimination(),
        schedule_rest,
        *pipeline.dataflow_lower_passes(target),
        *pipeline.finalize_passes(target),
    ]
    try:
        with target, tvm.transform.PassContext(opt_level=3):
            return tvm.compile(module, target=target, relax_pipeline=tvm.transform.Sequential(steps))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"TVM could not compile the model: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
