"""From a module to an ExecuTorch program, step by step."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paring_runtimes.errors import ExportError

from ..hints import explain
from ..quiet import quiet_export
from ..request import Exported, Request
from ..traced_specs import told, traced_specs
from .decompositions import table

# The memory of a program is planned for its largest batch and taken when it is opened.
MAX_BATCH = 32
# A method of the program that returns a constant: names and open sizes, which a program does not hold.
FACTS = "paring_facts"
# Of the runtime's own: no kernel is looked up for them.
_BUILT_IN = ("executorch_call_delegate", "executorch_prim")


def write(model: nn.Module, request: Request, path: Path) -> Exported:
    """Lower a module into the program at `path`.

    Raises:
        ExportError: as `paring_exporters.formats.executorch.export`.
    """
    program = _exported(model, request)
    inputs, outputs = traced_specs(program, request)
    most = MAX_BATCH if "batch" in request.dynamic else None
    facts_inside = {"inputs": [told(spec) for spec in inputs], "outputs": [told(spec) for spec in outputs]}
    lowered = _lowered(program, {**facts_inside, "max_batch": most})
    delegates, others = _kernels(lowered.exported_program().graph)
    _check_kernels(others)
    with _quiet():
        path.write_bytes(lowered.to_executorch().buffer)
    facts = {
        "precision": request.precision,
        "dynamic": list(request.dynamic),
        "executorch": version("executorch"),
        "backend": "XNNPACK",
        "xnnpack_parts": delegates,
        "other_kernels": dict(sorted(others.items())),
        **({} if most is None else {"max_batch": most}),
    }
    return Exported(path, inputs, outputs, facts)


def _exported(model: nn.Module, request: Request) -> torch.export.ExportedProgram:
    shapes = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)} if "batch" in request.dynamic else None
    try:
        with quiet_export(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model.eval(), (request.example,), dynamic_shapes=(shapes,))
            program = program.run_decompositions(table())
    except ModuleNotFoundError:  # an extra is missing, which is no fault of the model
        raise
    except Exception as error:
        raise ExportError(explain(error, request.dynamic)) from error
    ours = Counter(str(node.target) for node in program.graph.nodes if str(node.target).startswith("paring."))
    if ours:
        names = ", ".join(f"{name} ({count} times)" for name, count in sorted(ours.items()))
        raise ExportError(f"executorch: not lowered: {names}; -s export.format=onnx and tvm take them")
    return program


def _lowered(program: torch.export.ExportedProgram, facts: dict[str, Any]) -> Any:
    try:
        with _quiet():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            return to_edge_transform_and_lower(
                program, partitioner=[XnnpackPartitioner()], constant_methods={FACTS: json.dumps(facts)}
            )
    except ModuleNotFoundError:
        raise
    except Exception as error:  # its errors share no base class
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ExportError(f"executorch: the model cannot be lowered: {' '.join(lines)[:400]}") from error


def _kernels(graph: torch.fx.Graph) -> tuple[int, Counter[str]]:
    """How many parts are XNNPACK's, and the other kernels by name, with how often each is called."""
    delegates, others = 0, Counter[str]()
    for node in graph.nodes:
        name = str(getattr(node.target, "__name__", node.target))
        if node.op != "call_function":
            continue
        if name.startswith("executorch_call_delegate"):
            delegates += 1
        elif hasattr(node.target, "_op"):  # an operator of the edge dialect
            schema = node.target._schema
            others[f"{schema.name}.{schema.overload_name or 'default'}"] += 1
    return delegates, others


def _check_kernels(names: Counter[str]) -> None:
    """Refuse operators without a kernel now, rather than when the program is opened.

    Raises:
        ExportError: names them.
    """
    with _quiet():
        from executorch.extension.pybindings import portable_lib

    known = {name.partition(".")[0] for name in portable_lib._get_operator_names()}
    views = {"aten::view_copy", "aten::alias_copy"}  # turned into views of memory, or left out
    missing = sorted(name for name in names if name.partition(".")[0] not in known | views)
    if missing:
        raise ExportError(
            f"executorch: ExecuTorch {version('executorch')} has no kernel for {', '.join(missing)};"
            " -s export.format=onnx takes them"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, ExecuTorch and torchao say nothing but errors."""
    logger = logging.getLogger("torch.utils._pytree")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with quiet_export(), warnings.catch_warnings(), redirect_stderr(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
