"""From a module to a shared library, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import tvm
from torch import nn
from tvm.relax.frontend.torch import from_exported_program

from paring_runtimes import TensorSpec
from paring_runtimes.errors import ExportError

from ..request import Exported, Request
from .compiling import compiled, link
from .cpus import facts_of, target_for
from .program import constants_of, exported
from .rewrites import rewrite
from .translations import Lowering


def write(model: nn.Module, request: Request, path: Path) -> Exported:
    """Compile a module into the library at `path`.

    Raises:
        ExportError: as `paring_exporters.formats.tvm.export`.
    """
    target = target_for(request.target, request.threads)
    program = exported(model, request)
    constants, (inputs, outputs) = constants_of(program), _specs(program, request)
    rewrite(program, constants)
    lowering = Lowering(constants, target, request.shift != "float", request.target == "host")
    module = imported(program, lowering)
    facts = {
        "precision": request.precision,
        "dynamic": list(request.dynamic),
        "target": facts_of(target),
        "tvm": tvm.__version__,
        **lowering.facts(),
    }
    facts_inside = {
        "inputs": [told(spec) for spec in inputs],
        "outputs": [told(spec) for spec in outputs],
        "target": facts["target"],
        "tvm": tvm.__version__,
    }
    link(compiled(module, target), facts_inside, path)
    return Exported(path, inputs, outputs, facts)


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


def _specs(
    program: torch.export.ExportedProgram, request: Request
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    graph = program.graph_module.graph
    values = {node.name: node.meta["val"] for node in graph.nodes if "val" in node.meta}
    (given,) = program.graph_signature.user_inputs
    found = [values[name] for name in program.graph_signature.user_outputs]
    dynamic = "batch" in request.dynamic
    inputs = (_spec(request.input_name, values[given], dynamic),)
    names = zip(request.output_names, found, strict=True)
    return inputs, tuple(_spec(name, value, dynamic) for name, value in names)


def _spec(name: str, value: torch.Tensor, dynamic: bool) -> TensorSpec:
    shape = tuple(
        size if isinstance(size, int) else "batch" if axis == 0 and dynamic else f"{name}_{axis}"
        for axis, size in enumerate(value.shape)
    )
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape)


def told(spec: TensorSpec) -> dict[str, Any]:
    """An input or output as the library tells it."""
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
