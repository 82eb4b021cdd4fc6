"""A relax module becomes one shared library."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.relax.backend.cpu_generic import pipeline

from paring_runtimes.errors import ExportError

from .schedules import schedule_rest

# How the library's own account of itself is called in it: a C string of JSON.
SYMBOL = "paring_facts"


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


def link(executable: Any, facts: Mapping[str, Any], path: Path) -> None:
    """Write the shared library, with `facts` in it, by the system's C++ compiler.

    Raises:
        ExportError: there is no compiler, or it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "facts.cc"
        text = json.dumps(json.dumps(facts))
        source.write_text(
            f'extern "C" __attribute__((visibility("default"))) const char* {SYMBOL} = {text};\n'
        )
        try:
            executable.export_library(str(path), addons=[str(source)], workspace_dir=folder)
        except (RuntimeError, OSError) as error:
            raise ExportError(
                f"{path.name} could not be linked, which needs a C++ compiler (g++): {_first_line(error)}"
            ) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
