"""The shape of what every node sends, without the batch, and the windows of convolutions and pools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.spiking.connections import Window
from paring_runtimes.spiking.nir_file import NirNode, whole_numbers

Shape = tuple[int, ...]
Edges = Iterable[tuple[str, str]]


def shapes_of(
    path: Path, nodes: Mapping[str, NirNode], edges: Edges
) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return (what comes in, what goes out) by node.

    Raises:
        EngineError: a node that nothing reaches, edges into a node with different shapes, or a shape that
            does not fit the node.
    """
    sources: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        sources[target].append(source)
    outgoing: dict[str, Shape] = {}
    incoming: dict[str, Shape] = {}
    waiting = list(nodes)
    while waiting:
        left = []
        for name in waiting:
            node = nodes[name]
            known = [outgoing[source] for source in sources[name] if source in outgoing]
            if node.kind == "Input" and not sources[name]:
                known = [_input_shape(path, name, node)]
            if not known:
                left.append(name)
                continue
            incoming[name] = known[0]
            outgoing[name] = _shape(path, name, node, known[0])
        if len(left) == len(waiting):
            raise EngineError(f"{path}: no path leads from an Input node to {', '.join(map(repr, left))}")
        waiting = left
    for name in nodes:
        for source in sources[name]:
            if outgoing[source] != incoming[name]:
                raise EngineError(
                    f"{path}: {source!r} sends {outgoing[source]} to node {name!r} ({nodes[name].kind}), "
                    f"which takes {incoming[name]}"
                )
    return incoming, outgoing


def _input_shape(path: Path, name: str, node: NirNode) -> Shape:
    shape = tuple(int(size) for size in np.asarray(node.fields["shape"]).reshape(-1))
    if not shape or min(shape) < 1:
        raise EngineError(f"{path}: node {name!r} (Input): shape is {shape}; expected sizes of at least 1")
    return shape


def _shape(path: Path, name: str, node: NirNode, given: Shape) -> Shape:
    kind, fields = node.kind, node.fields
    where = f"{path}: node {name!r} ({kind})"
    if kind in ("Affine", "Linear"):
        weight = fields["weight"]
        if weight.ndim != 2:
            raise EngineError(f"{where}: weight has {weight.ndim} dimensions; expected [targets, sources]")
        if int(np.prod(given)) != weight.shape[1]:
            raise EngineError(f"{where}: weight takes {weight.shape[1]} numbers, and {given} comes in")
        _check_bias(where, fields, weight.shape[0])
        return (weight.shape[0],)
    if kind in ("Conv1d", "Conv2d"):
        _check_convolution(where, kind, fields, given)
        out = convolution_window(path, name, node, given).out
        return (fields["weight"].shape[0], *out[2 - (len(given) - 1) :])
    if kind in ("SumPool2d", "AvgPool2d"):
        if len(given) != 3:
            raise EngineError(f"{where}: takes (channels, height, width), and {given} comes in")
        return (given[0], *pool_window(path, name, node, given).out)
    if kind == "Flatten":
        return _flattened(path, name, node, given)
    if kind in ("Scale", "Delay", "Threshold"):
        array = np.asarray(fields[kind.lower()])
        try:
            fits = array.size == 1 or np.broadcast_shapes(array.shape, given) == given
        except ValueError:
            fits = False
        if not fits:
            raise EngineError(f"{where}: {kind.lower()} has shape {array.shape}, and {given} comes in")
    return given


def _check_bias(where: str, fields: Mapping[str, Any], targets: int) -> None:
    bias = np.asarray(fields.get("bias", np.zeros(targets)))
    if bias.shape != (targets,):
        raise EngineError(f"{where}: bias has shape {bias.shape}; expected ({targets},)")


def _check_convolution(where: str, kind: str, fields: Mapping[str, Any], given: Shape) -> None:
    axes = 1 if kind == "Conv1d" else 2
    weight, groups = fields["weight"], int(np.asarray(fields["groups"]).reshape(-1)[0])
    if weight.ndim != axes + 2:
        raise EngineError(f"{where}: weight has {weight.ndim} dimensions; expected {axes + 2}")
    if len(given) != axes + 1:
        raise EngineError(f"{where}: takes {axes + 1} dimensions, channels first, and {given} comes in")
    if groups < 1 or weight.shape[0] % groups or weight.shape[1] * groups != given[0]:
        raise EngineError(
            f"{where}: weight {weight.shape} in {groups} groups takes {weight.shape[1] * groups} channels, and "
            f"{given} comes in"
        )
    told = fields.get("input_shape")
    if told is not None and tuple(int(n) for n in np.asarray(told).reshape(-1)) != given[1:]:
        raise EngineError(f"{where}: input_shape is {np.asarray(told).tolist()}, and {given} comes in")
    _check_bias(where, fields, weight.shape[0])


def convolution_window(path: Path, name: str, node: NirNode, given: Shape) -> Window:
    """Return the window of a Conv1d (as one of height 1) or a Conv2d."""
    axes = len(given) - 1
    kernel = tuple(int(n) for n in node.fields["weight"].shape[2:])
    stride, dilation = (
        whole_numbers(path, name, key, node.fields[key], axes) for key in ("stride", "dilation")
    )
    told = node.fields["padding"]
    if isinstance(told, str) and told not in ("same", "valid"):
        raise EngineError(f"{path}: node {name!r}: padding is {told!r}; expected numbers, 'same' or 'valid'")
    if isinstance(told, str) and told == "same" and max(stride) > 1:
        raise EngineError(f"{path}: node {name!r}: padding 'same' with stride {stride} means nothing")
    if isinstance(told, str):
        reach = [d * (k - 1) if told == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        before, after = tuple(r // 2 for r in reach), tuple(r - r // 2 for r in reach)
    else:
        before = after = whole_numbers(path, name, "padding", told, axes)
    return _window(path, name, given[1:], kernel, stride, before, after, dilation)


def pool_window(path: Path, name: str, node: NirNode, given: Shape) -> Window:
    """Return the window of a pool."""
    kernel, stride, padding = (
        whole_numbers(path, name, key, node.fields[key], 2) for key in ("kernel_size", "stride", "padding")
    )
    return _window(path, name, given[1:], kernel, stride, padding, padding, (1, 1))


def _window(
    path: Path,
    name: str,
    size: Shape,
    kernel: Shape,
    stride: Shape,
    before: Shape,
    after: Shape,
    dilation: Shape,
) -> Window:
    out = []
    for axis, given in enumerate(size):
        if min(kernel[axis], stride[axis], dilation[axis]) < 1 or before[axis] < 0:
            raise EngineError(
                f"{path}: node {name!r}: kernel {kernel}, stride {stride} and dilation {dilation} must be at "
                f"least 1, padding {before} at least 0"
            )
        room = given + before[axis] + after[axis] - dilation[axis] * (kernel[axis] - 1) - 1
        if room < 0:
            raise EngineError(f"{path}: node {name!r}: its kernel {kernel} is larger than its input {size}")
        out.append(room // stride[axis] + 1)

    def two(values: Shape, one: int) -> tuple[int, int]:
        return (one, values[0]) if len(values) == 1 else (values[0], values[1])

    return Window(
        two(size, 1), two(kernel, 1), two(stride, 1), two(before, 0), two(dilation, 1), two(tuple(out), 1)
    )


def _flattened(path: Path, name: str, node: NirNode, given: Shape) -> Shape:
    start, end = (
        int(np.asarray(node.fields[key]).reshape(-1)[0]) % max(1, len(given))
        for key in ("start_dim", "end_dim")
    )
    if start > end:
        raise EngineError(f"{path}: node {name!r} (Flatten): dimensions {start} to {end} of {given}")
    return (*given[:start], int(np.prod(given[start : end + 1])), *given[end + 1 :])
