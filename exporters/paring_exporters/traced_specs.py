"""Inputs and outputs of a traced program, as artifacts tell them."""

from __future__ import annotations

from typing import Any

import torch

from paring_runtimes import TensorSpec

from .request import Request


def traced_specs(
    program: torch.export.ExportedProgram, request: Request
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The input and the outputs, by the request's names."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    (given,) = program.graph_signature.user_inputs
    found = [values[name] for name in program.graph_signature.user_outputs]
    dynamic = "batch" in request.dynamic
    names = zip(request.output_names, found, strict=True)
    return (
        (_spec(request.input_name, values[given], dynamic),),
        tuple(_spec(name, value, dynamic) for name, value in names),
    )


def told(spec: TensorSpec) -> dict[str, Any]:
    """An input or output as a compiled file tells it."""
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _spec(name: str, value: torch.Tensor, dynamic: bool) -> TensorSpec:
    """Of a tensor of the trace; with `dynamic` its first open size is the batch."""
    shape = tuple(
        size if isinstance(size, int) else "batch" if axis == 0 and dynamic else f"{name}_{axis}"
        for axis, size in enumerate(value.shape)
    )
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape)
