"""Optimisation profiles: the ranges of the inputs' shapes, and what the token schedule makes of them.

A model that drops tokens sorts all patches of an image in its first reducing block, so that TopK's K grows
with the image: TensorRT takes 3839 at most. The largest image of a profile follows from that, and each
profile says how many tokens are ranked at its smallest, best and largest image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import onnx

from paring_runtimes import TensorSpec
from paring_runtimes.errors import ExportError

from .lint.rules.restrictions import MAX_K
from .options import BuildOptions, Range

Shapes = dict[str, list[int]]
Profile = dict[str, dict[str, list[int]]]  # input -> {"min", "opt", "max"} -> sizes
KINDS = ("min", "opt", "max")
BATCHES: tuple[Range, ...] = ((1, 1, 1), (1, 8, 32))
_HALVINGS = 2


def profiles(
    spec: TensorSpec, example: Sequence[int], dynamic: Sequence[str], step: int, options: BuildOptions
) -> list[Profile]:
    """The profiles of a model with one image input [B, C, H, W]; none where its shape is fixed.

    Args:
        spec: the input, with names for open sizes.
        example: a shape that it takes.
        dynamic: which of "batch" and "image_size" are open.
        step: what image sizes are multiples of.
        options: the ranges asked for.

    Raises:
        ExportError: a range of a size that is fixed, or one that is no range.
    """
    for name, asked, key in (("batch", options.batches, "batches"), ("image_size", options.sizes, "sizes")):
        if asked and name not in dynamic:
            raise ExportError(f"export.tensorrt.{key}: {name} is fixed: add it to export.dynamic")
        for low, best, high in asked:
            if not low <= best <= high:
                raise ExportError(
                    f"export.tensorrt.{key}: {[low, best, high]} is not smallest, best, largest"
                )
    if not dynamic:
        return []
    batches = options.batches or BATCHES if "batch" in dynamic else ((example[0],) * 3,)
    sides: tuple[Range | None, ...] = (None,)
    if "image_size" in dynamic:
        sides = options.sizes or (_derived(min(example[2:]), step),)
        for side in (one for one in sides if one is not None):
            wrong = [size for size in side if size % step]
            if wrong:
                raise ExportError(f"export.tensorrt.sizes: {wrong[0]} is no multiple of {step} pixels")
    return [_profile(spec.name, example, batch, side) for batch, side in product(batches, sides)]


def _derived(side: int, step: int) -> Range:
    """From half the model's own image to that image."""
    smallest = max(2 * step, side // _HALVINGS // step * step)
    return (smallest, side, side)


def _profile(name: str, example: Sequence[int], batch: Range | Sequence[int], side: Range | None) -> Profile:
    def shape(index: int) -> list[int]:
        height, width = (example[2], example[3]) if side is None else (side[index], side[index])
        return [batch[index], example[1], height, width]

    return {name: {kind: shape(index) for index, kind in enumerate(KINDS)}}


def schedule(model: onnx.ModelProto, found: Sequence[Profile]) -> list[dict[str, list[int]]]:
    """How many tokens are ranked, block by block, at each profile's smallest, best and largest shape.

    Raises:
        ExportError: more are ranked than TensorRT's TopK takes; says the range to lower.
    """
    told = []
    for index, profile in enumerate(found):
        counts = {kind: ranked(model, {name: r[kind] for name, r in profile.items()}) for kind in KINDS}
        worst = max(counts["max"], default=0)
        if worst > MAX_K:
            shape = next(iter(profile.values()))["max"]
            raise ExportError(
                f"profile {index}: images of {shape[2]}x{shape[3]} give {worst} tokens to rank, and"
                f" TensorRT's TopK takes {MAX_K}: lower the largest of export.tensorrt.sizes, or"
                " export.image_size"
            )
        told.append(counts)
    return told


def ranked(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> list[int]:
    """K of every TopK of the main graph for inputs of these shapes, in order; what stays open is left out.

    A K that is computed in a way that ONNX's inference does not follow counts as the whole axis, its most.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            dim.dim_value = size
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    fixed = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    types = {value.name: value.type.tensor_type for value in (*fixed.graph.value_info, *fixed.graph.output)}
    counts = []
    for node in fixed.graph.node:
        kind = types.get(node.output[0])
        if node.op_type != "TopK" or kind is None or not kind.HasField("shape"):
            continue
        axis = next((one.i for one in node.attribute if one.name == "axis"), -1)
        size = kind.shape.dim[axis].dim_value or _axis_size(types.get(node.input[0]), axis)
        if size:
            counts.append(int(size))
    return counts


def _axis_size(kind: onnx.TypeProto.Tensor | None, axis: int) -> int:
    return int(kind.shape.dim[axis].dim_value) if kind is not None and kind.HasField("shape") else 0
