"""A module as an exported program, with what has kernels of its own left whole."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from paring_runtimes.errors import ExportError

from ..hints import explain
from ..quiet import quiet_export
from ..request import MAX_BATCH, Request

aten = torch.ops.aten
# What the rewrites look for, or what relax lowers better than what it decomposes into.
WHOLE = (
    aten.linear.default,
    aten.layer_norm.default,
    aten.scaled_dot_product_attention.default,
    aten.matmul.default,
    aten.conv2d.default,
    aten.softmax.int,
)


def exported(model: nn.Module, request: Request) -> torch.export.ExportedProgram:
    """Export `model` by `torch.export` and decompose it to core operators, but for `WHOLE`.

    Raises:
        ExportError: torch cannot export it; the message says where and why.
    """
    shapes = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)} if "batch" in request.dynamic else None
    try:
        with quiet_export(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model.eval(), (request.example,), dynamic_shapes=(shapes,))
            table = torch.export.default_decompositions()
            for operator in WHOLE:
                table.pop(operator, None)
            return program.run_decompositions(table)
    except ModuleNotFoundError:  # an extra is missing, which is no fault of the model
        raise
    except Exception as error:
        raise ExportError(explain(error, request.dynamic)) from error


def constants_of(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """Parameters, buffers and constants by the name of the node that stands for them."""
    tensors: dict[str, Any] = {
        **dict(program.named_parameters()),
        **dict(program.named_buffers()),
        **program.constants,
    }
    specs = program.graph_signature.input_specs
    named = {spec.arg.name: tensors.get(spec.target) for spec in specs if spec.target is not None}
    return {name: value.detach() for name, value in named.items() if isinstance(value, torch.Tensor)}
