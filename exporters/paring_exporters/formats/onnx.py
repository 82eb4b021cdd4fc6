"""ONNX, through `torch.onnx.export(dynamo=True)`; the default domain only, no custom operators."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from paring_runtimes import TensorSpec
from paring_runtimes.errors import ExportError, MissingExtraError

from ..given.graph import GraphRequest
from ..half import HalfPrecision
from ..hints import explain
from ..quiet import quiet_export
from ..request import DEFAULT_OPSET, MAX_BATCH, Exported, Request

NAME = "onnx"
ENTRY = "model.onnx"


def why_not() -> str | None:
    """None when ONNX export works here, otherwise the line that mends it."""
    missing = [name for name in ("onnx", "onnxscript", "onnxslim") if find_spec(name) is None]
    return f"{', '.join(missing)} missing: pip install 'paring[onnx]'" if missing else None


def export(model: nn.Module, request: Request, folder: Path) -> Exported:
    """Write `model` as `model.onnx` into `folder` and clean its graph up.

    Raises:
        ExportError: torch cannot export the model, or not with this opset; the message says where
            and why.
        MissingExtraError: the `onnx` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("exporting to ONNX", "onnx")
    from ..onnx_graph import neurons
    from ..onnx_graph.cleanup import cleaned
    from ..onnx_graph.shift_linear import lower, lowered

    if request.precision == "fp16":
        model = HalfPrecision(model)
    program = _program(model, request)
    _check_opset(program, request.opset)
    before = len(program.model.graph)
    optimizer, graph = cleaned(program.model_proto, request.optimizer)
    flavour = "float" if request.shift == "auto" else request.shift
    graph = neurons.lowered(lowered(graph, flavour))
    shifting = lower(program.model, flavour)
    neurons.lower(program.model)
    entry = folder / ENTRY
    _save(graph, entry)
    specs = [tensor_specs(values) for values in (graph.graph.input, graph.graph.output)]
    facts = {
        "opset": request.opset,
        "precision": request.precision,
        "optimizer": optimizer,
        "dynamic": list(request.dynamic),
        "nodes": {"exported": before, "cleaned": len(graph.graph.node)},
    }
    if shifting:
        facts["shift"] = {"terms": shifting, "flavour": flavour}
    return Exported(entry, specs[0], specs[1], facts, program)


def locate(exported: Exported, pixels: np.ndarray, tolerance: tuple[float, float]) -> object:
    """The first value on the way from PyTorch to the artifact that differs, or None."""
    from ..onnx_graph.difference import locate as located

    return located(exported.program, exported.entry, pixels, tolerance)


def _program(model: nn.Module, request: Request) -> Any:
    from ..onnx_graph.translations import table

    try:
        with quiet_export(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                model.eval(),
                (request.example,),
                dynamo=True,
                opset_version=request.opset,
                input_names=[request.input_name],
                output_names=list(request.output_names),
                dynamic_shapes=(_dynamic_shapes(request),),
                custom_translation_table=table(),
                verbose=False,
            )
    except ModuleNotFoundError:  # an extra is missing, which is no fault of the model
        raise
    except Exception as error:
        raise ExportError(explain(error, request.dynamic)) from error


def _check_opset(program: Any, wanted: int) -> None:
    """torch keeps its own opset, without an error, where it cannot convert to the one asked for."""
    written = program.model.opset_imports.get("")
    if written != wanted:
        raise ExportError(
            f"opset {wanted}: torch {torch.__version__} writes opset {written} in its place; ask for"
            f" that, or for one between it and {DEFAULT_OPSET}, which is the default"
        )


def _dynamic_shapes(request: Request) -> dict[int, Any]:
    shapes: dict[int, Any] = {}
    if "batch" in request.dynamic:
        shapes[0] = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    if "image_size" in request.dynamic:
        for axis, name in ((2, "height"), (3, "width")):
            side = torch.export.Dim(f"{name}_patches", min=2, max=512)
            shapes[axis] = request.size_step * side if request.size_step > 1 else side
    return shapes


def _save(graph: Any, entry: Path) -> None:
    import onnx

    from ..onnx_graph.weights import must_lie_beside

    large = must_lie_beside(graph)
    onnx.save(
        graph,
        entry,
        save_as_external_data=large,
        location=f"{entry.name}.data" if large else None,
    )
    onnx.checker.check_model(str(entry))


def tensor_specs(values: Any) -> tuple[TensorSpec, ...]:
    """Names, dtypes and shapes of a graph's inputs or outputs."""
    import onnx

    specs = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_{axis}"
            for axis, dim in enumerate(tensor.shape.dim)
        )
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        specs.append(TensorSpec(value.name, dtype, shape))
    return tuple(specs)


def export_graph(request: GraphRequest, folder: Path) -> Exported:
    """Write a graph from elsewhere, folded and cleaned, as `model.onnx` into `folder`.

    Raises:
        ExportError: the optimizer that was asked for fails on it, or what comes out is no ONNX.
        MissingExtraError: the `onnx` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("exporting to ONNX", "onnx")
    from ..given.folding import folded

    graph = request.graph
    optimizer, model, notes = folded(graph.model, request.optimizer)
    entry = folder / ENTRY
    try:
        _save(model, entry)
    except Exception as error:  # the checker's errors share no base class
        raise ExportError(f"{graph.file}: no valid ONNX: {' '.join(str(error).split())[:300]}") from error
    facts = {
        "opset": next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), None),
        "precision": "fp32",
        "optimizer": optimizer,
        "fixed": {name: array.tolist() for name, array in graph.constants.items()},
        "nodes": {"given": count_nodes(graph.model.graph), "cleaned": count_nodes(model.graph)},
        **({"notes": list(notes)} if notes else {}),
    }
    return Exported(entry, graph.inputs, graph.outputs, facts)


def count_nodes(graph: Any) -> int:
    """Nodes of a graph and of every branch and body in it."""
    inner = (one.g for node in graph.node for one in node.attribute if one.HasField("g"))
    return len(graph.node) + sum(count_nodes(one) for one in inner)
