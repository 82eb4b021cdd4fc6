"""A graph from elsewhere: what it takes and gives, with a name for every open size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes import TensorSpec
from paring_runtimes.errors import ExportError

from ..tensorrt.options import BuildOptions

Feeds = dict[str, np.ndarray]
_WEIGHTS_APART = 4  # the IR from which on weights need not be listed as inputs


@dataclass(frozen=True, eq=False)
class GivenGraph:
    """An ONNX graph from elsewhere.

    Attributes:
        file: where it lies, as it was given: what artifacts are compared with.
        model: the same as a ModelProto, weights inside; with names for open sizes, and fixed as asked for.
        inputs, outputs: of `model`.
        constants: inputs of the file that are constants of `model`, by name.
    """

    file: Path
    model: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    constants: Feeds = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GraphRequest:
    """How to export a graph from elsewhere.

    Attributes:
        graph: the graph.
        feeds: inputs by name, a few sets of them; the sizes that open dimensions are tried at.
        optimizer: as in `Request`.
        target, threads: of a compiled format, as in `Request`.
        tensorrt: how an engine of TensorRT is built.
    """

    graph: GivenGraph
    feeds: tuple[Feeds, ...]
    optimizer: str = "auto"
    target: str = "host"
    threads: int | None = None
    tensorrt: BuildOptions | None = None


def given_graph(file: Path, model: Any, fix: Mapping[str, float]) -> GivenGraph:
    """Name the open sizes of `model`, and fix what `fix` says.

    Args:
        file: where the model was read.
        model: a ModelProto, which is changed.
        fix: numbers by name: of an input, which becomes a constant of it; or of an open size.

    Raises:
        ExportError: a name that is neither, or an input whose own sizes stay open.
    """
    _weights_are_no_inputs(model)
    inputs = list(model.graph.input)
    for value in (*inputs, *model.graph.output):
        _name_sizes(value)
    sizes = {name for value in inputs for name in _open_sizes(value)}
    names = {value.name for value in inputs}
    for name in fix:
        if name not in sizes | names:
            known = ", ".join([*sorted(names), *sorted(sizes)])
            raise ExportError(f"{file}: {name!r} is neither an input nor an open size; there are {known}")
    if any(name in sizes for name in fix):
        _fix_sizes(model, {name: number for name, number in fix.items() if name in sizes})
    fixed = {value.name: _constant(file, value, fix[value.name]) for value in inputs if value.name in fix}
    _fix_inputs(model, fixed)
    left = [value for value in inputs if value.name not in fix]
    return GivenGraph(file, model, _specs(file, left), _specs(file, model.graph.output), fixed)


def _weights_are_no_inputs(model: Any) -> None:
    """Old files (IR 3) list their weights among the inputs, as defaults that a caller may replace."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        model.ir_version = max(model.ir_version, _WEIGHTS_APART)


def _name_sizes(value: Any) -> None:
    """Each open size gets the name that engines and `paring profile --dim` know it by."""
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.dim_param in ("", "?") and dim.dim_value <= 0:  # "?" stands for any size, each its own
            dim.dim_param = f"{value.name}_dim_{axis}"


def _open_sizes(value: Any) -> list[str]:
    return [dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param]


def _fix_sizes(model: Any, sizes: Mapping[str, float]) -> None:
    for name, size in sizes.items():
        if size != int(size) or size < 1:
            raise ExportError(f"{name}={size:g}: a size is a whole number of at least 1")
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = int(sizes[dim.dim_param])
    del model.graph.value_info[:]  # what was inferred of open sizes


def _constant(file: Path, value: Any, number: float) -> np.ndarray:
    (spec,) = _specs(file, [value])
    if any(isinstance(size, str) for size in spec.shape):
        left = ", ".join(str(size) for size in spec.shape if isinstance(size, str))
        raise ExportError(f"{file}: input {spec.name!r} cannot be fixed while its size {left} is open")
    return np.full(spec.shape, number, spec.dtype)  # type: ignore[arg-type]


def _fix_inputs(model: Any, fixed: Mapping[str, np.ndarray]) -> None:
    from onnx import numpy_helper

    for name, array in fixed.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
        model.graph.input.remove(next(value for value in model.graph.input if value.name == name))


def _specs(file: Path, values: Any) -> tuple[TensorSpec, ...]:
    import onnx

    specs = []
    for value in values:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else None
        if dtype is None or dtype.kind not in "biuf":
            kind = value.type.WhichOneof("value") or "value without a type"
            raise ExportError(
                f"{file}: {value.name!r} is a {kind.replace('_', ' ')} that numpy has no numbers for"
            )
        shape = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
        specs.append(TensorSpec(value.name, str(dtype), shape))
    return tuple(specs)
