"""From a module to a shared library, step by step."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch
import tvm
from torch import nn
from tvm.relax.frontend.torch import from_exported_program

from paring_runtimes.engines.tvm import misfit
from paring_runtimes.errors import ExportError

from ..request import MAX_BATCH, Exported, Request
from ..traced_specs import told, traced_specs
from ..tvm.target import host_target
from .architectures import of
from .compiling import compiled
from .cpus import facts_of, target_for
from .linking import compiler_for, link
from .program import constants_of, exported
from .rewrites import rewrite
from .translations import Lowering
from .tuning import Tuner

_NOT_TUNED = "tvm: not tuned: kernels are timed on this CPU, and export.target is {target}, not host"
NOT_RUN = (
    "tvm: the library was not run: {reason}; parity and answers are those of the same graph compiled for this"
    " machine. paring profile --on rpc://HOST:PORT/KEY runs the library itself, and compares it"
)


def write(model: nn.Module, request: Request, path: Path) -> Exported:
    """Compile a module into the library at `path`; for a CPU that is not here, a twin for this one beside it.

    Raises:
        ExportError: as `paring_exporters.formats.tvm.export`.
    """
    target = target_for(request.target, request.threads)
    compiler_for(of(target))  # before minutes of compiling
    needs = facts_of(target)
    reason = misfit(needs)
    program = exported(model, request)
    constants, specs = constants_of(program), traced_specs(program, request)
    most = _most(program) if "batch" in request.dynamic else None
    rewrite(program, constants)

    def compile_for(target: Any, into: Path) -> dict[str, Any]:
        here = request.target == "host"
        tuner = Tuner(target, request.tune) if here and request.tune.seconds else None
        lowering = Lowering(constants, target, request.shift != "float", here, tuner)
        inside = {
            **{
                key: [told(one) for one in of_key]
                for key, of_key in zip(("inputs", "outputs"), specs, strict=True)
            },
            "target": facts_of(target),
            "tvm": tvm.__version__,
            "max_batch": most,
        }
        link(compiled(imported(program, lowering), target), inside, into, of(target))
        return lowering.facts()

    facts = {
        "precision": request.precision,
        "dynamic": list(request.dynamic),
        "target": needs,
        "tvm": tvm.__version__,
        **compile_for(target, path),
    }
    if request.tune.seconds and request.target != "host":
        facts["notes"] = [*facts.get("notes", ()), _NOT_TUNED.format(target=request.target)]
    twin = None
    if reason is not None:
        twin = path.with_name(f"twin-{path.name}")
        compile_for(host_target(request.threads), twin)
        facts["notes"] = [*facts.get("notes", ()), NOT_RUN.format(reason=reason, machine=needs["machine"])]
    return Exported(path, *specs, facts, twin=twin)


def imported(program: torch.export.ExportedProgram, lowering: Lowering) -> Any:
    """The program as a module of relax.

    Raises:
        ExportError: an operator that neither TVM nor we lower.
    """
    try:
        with torch.no_grad():
            return from_exported_program(
                program, run_ep_decomposition=False, custom_convert_map=lowering.table()
            )
    except (AssertionError, NotImplementedError, KeyError, ValueError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ExportError(
            f"tvm: TVM {tvm.__version__} cannot import the model: {' '.join(lines)[:400]}"
        ) from error


def _most(program: torch.export.ExportedProgram) -> int:
    """The largest batch: kernels count elements in int32."""
    values = [node.meta.get("val") for node in program.graph_module.graph.nodes]
    shapes = [value.shape[1:] for value in values if isinstance(value, torch.Tensor) and value.ndim]
    sizes = [prod(shape) for shape in shapes if all(isinstance(size, int) for size in shape)]
    return min(MAX_BATCH, (2**31 - 1) // max(sizes))
