"""From an ONNX graph to a shared library, by relax's ONNX frontend."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import tvm
from tvm.relax.frontend.onnx import from_onnx

from paring_runtimes.engines.tvm import misfit
from paring_runtimes.errors import ExportError

from ..given.folding import folded
from ..given.graph import GivenGraph, GraphRequest
from ..request import Exported
from ..traced_specs import told
from ..tvm.target import host_target
from .architectures import of
from .compiling import compiled
from .cpus import facts_of, target_for
from .linking import compiler_for, link
from .whole import NOT_RUN


def write(request: GraphRequest, path: Path) -> Exported:
    """Compile a graph into the library at `path`; for a CPU that is not here, a twin for this one beside it.

    Raises:
        ExportError: as `paring_exporters.formats.tvm.export_graph`.
    """
    graph, target = request.graph, target_for(request.target, request.threads)
    compiler_for(of(target))  # before minutes of compiling
    needs = facts_of(target)
    reason = misfit(needs)
    optimizer, model, notes = folded(graph.model, request.optimizer)
    module = imported(model, graph)
    if reason is not None:
        notes = (*notes, NOT_RUN.format(reason=reason, machine=needs["machine"]))
    facts = {
        "precision": "fp32",
        "optimizer": optimizer,
        "fixed": {name: array.tolist() for name, array in graph.constants.items()},
        "target": needs,
        "tvm": tvm.__version__,
        **({"notes": list(notes)} if notes else {}),
    }

    def compile_for(target: Any, into: Path) -> None:
        inside = {
            "inputs": [told(spec) for spec in graph.inputs],
            "outputs": [told(spec) for spec in graph.outputs],
            "target": facts_of(target),
            "tvm": tvm.__version__,
        }
        link(compiled(module, target), inside, into, of(target))

    compile_for(target, path)
    twin = None
    if reason is not None:
        twin = path.with_name(f"twin-{path.name}")
        compile_for(host_target(request.threads), twin)
    return Exported(path, graph.inputs, graph.outputs, facts, twin=twin)


def imported(model: Any, graph: GivenGraph) -> Any:
    """The graph as a module of relax, whose function `main` takes the inputs in their order.

    Raises:
        ExportError: an operator that TVM does not import, or not with open sizes.
    """
    said = io.StringIO()  # the frontend prints the operator at fault
    try:
        with warnings.catch_warnings(), redirect_stdout(said):
            warnings.simplefilter("ignore")
            module = from_onnx(model, keep_params_in_input=False)
    except Exception as error:  # they share no base class
        raise ExportError(_refusal(model, graph, error, said.getvalue())) from error
    count = len(module["main"].params)
    if count != len(graph.inputs):
        names = ", ".join(spec.name for spec in graph.inputs)
        raise ExportError(
            f"tvm: TVM {tvm.__version__} imports {count} of the inputs {names}: what depends on one of"
            " them is lost. Fix that input, onnx:FILE?NAME=NUMBER"
        )
    return module


def _refusal(model: Any, graph: GivenGraph, error: Exception, said: str) -> str:
    """What TVM does not take, where in the graph, and what would help."""
    start = f"tvm: TVM {tvm.__version__} cannot import {graph.file}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    unsupported = re.search(r"not supported for frontend ONNX: (.+)", str(error))
    if unsupported is not None:
        kinds = [kind.strip() for kind in unsupported.group(1).split(",")]
        nodes = [f"{node.op_type} (node {_name(node)})" for node in model.graph.node if node.op_type in kinds]
        return f"{start}: it has no {', '.join(nodes)}; -s export.format=onnx takes it"
    found = re.search(r"Error converting operator (\w+)", said)
    where = f": {found.group(1)}" if found else ""
    sizes = sorted({size for spec in graph.inputs for size in spec.shape if isinstance(size, str)})
    advice = f". Fix the open sizes, onnx:FILE?{'&'.join(f'{size}=N' for size in sizes)}" if sizes else ""
    return f"{start}{where}: {type(error).__name__}: {' '.join(lines)[:300]}{advice}"


def _name(node: Any) -> str:
    return node.name or (node.output[0] if node.output else "without a name")
