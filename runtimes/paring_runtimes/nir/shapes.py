"""The shape that every node takes and gives, without a batch. What does not fit is said with the node."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any

import numpy as np

from .errors import NirRefused
from .flat import Flat, flatten, schedule
from .graph import Graph
from .nodes import (
    NEURONS,
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delay,
    Elementwise,
    Flatten,
    Input,
    Linear,
    Node,
    Output,
    Scale,
    Shape,
    SumPool2d,
    Threshold,
)


def node_shapes(graph: Graph | Flat) -> dict[str, tuple[Shape, Shape]]:
    """By path: what each node takes and what it gives.

    Raises:
        NirRefused: a shape that does not fit, with the node, or the two ends of the edge.
    """
    flat = graph if isinstance(graph, Flat) else flatten(graph)
    plan = schedule(flat)
    found: dict[str, tuple[Shape, Shape]] = {}
    for name in plan.order:
        node = flat.nodes[name]
        known = [source for source in flat.into(name) if source in found]
        taken = found[known[0]][1] if known else _own_shape(name, node)
        for source in known[1:]:
            if found[source][1] != taken:
                raise NirRefused(
                    f"node {name} ({_kind(node)}): {known[0]} brings {list(taken)} and {source} brings"
                    f" {list(found[source][1])}: inputs are summed, expected one shape"
                )
        try:
            found[name] = taken, given(node, taken)
        except NirRefused as error:
            brings = f"; {known[0]} brings {list(taken)}" if known else ""
            raise NirRefused(f"node {name} ({_kind(node)}): {error}{brings}") from None
    for source, target in sorted(plan.delayed):
        if found[source][1] != found[target][0]:
            raise NirRefused(
                f"node {target} ({_kind(flat.nodes[target])}): takes {list(found[target][0])}, and {source},"
                f" which closes a cycle, brings {list(found[source][1])}"
            )
    return found


def _own_shape(name: str, node: Node) -> Shape:
    """What a node takes that nothing before it tells: an Input, or the first of a cycle without Input."""
    if isinstance(node, Input):
        return node.shape
    own = [np.shape(value) for value in vars(node).values() if isinstance(value, np.ndarray)]
    if isinstance(node, (*NEURONS, Scale, Delay, Threshold)) and own:
        return max(own, key=math.prod)
    raise NirRefused(f"node {name} ({_kind(node)}): its shape is not told by anything before it in its cycle")


@singledispatch
def given(node: Any, taken: Shape) -> Shape:
    """What a node gives for what it takes. Elementwise nodes give what they take."""
    _check_elementwise(node, taken)
    return taken


def _check_elementwise(node: Elementwise, taken: Shape) -> None:
    for key, value in vars(node).items():
        if isinstance(value, np.ndarray) and value.size != 1 and value.shape != taken:
            raise NirRefused(f"{key} of shape {list(value.shape)}, expected that of its input")


@given.register
def _(node: Input, taken: Shape) -> Shape:
    if isinstance(node, Input) and node.shape != taken:  # the Input of a subgraph
        raise NirRefused(f"shape {list(node.shape)}, expected that of what comes in")
    return taken


@given.register
def _(node: Output, taken: Shape) -> Shape:
    told, real = ([size for size in shape if size != 1] for shape in (node.shape, taken))
    if told != real:  # some writers put axes of one before
        raise NirRefused(f"shape {list(node.shape)}, expected that of what comes in")
    return taken


@given.register(Affine)
@given.register(Linear)
def _(node: Affine | Linear, taken: Shape) -> Shape:
    out, inner = _weight(node, 2)
    if taken != (inner,):
        raise NirRefused(f"weight of shape {[out, inner]} takes [{inner}]")
    if isinstance(node, Affine) and node.bias.shape != (out,):
        raise NirRefused(f"bias of shape {list(node.bias.shape)}, expected [{out}]")
    return (int(out),)


@given.register
def _(node: Conv1d, taken: Shape) -> Shape:
    padding = node.padding if isinstance(node.padding, str) else (node.padding,)
    told = None if node.input_shape is None else (node.input_shape,)
    return _convolved(node, taken, told, (node.stride,), padding, (node.dilation,))


@given.register
def _(node: Conv2d, taken: Shape) -> Shape:
    return _convolved(node, taken, node.input_shape, node.stride, node.padding, node.dilation)


def _weight(node: Affine | Linear | Conv1d | Conv2d, axes: int) -> Shape:
    if node.weight.ndim != axes:
        raise NirRefused(f"weight of shape {list(node.weight.shape)}, expected {axes} axes")
    return node.weight.shape


def _convolved(
    node: Conv1d | Conv2d,
    taken: Shape,
    told: Shape | None,
    stride: Shape,
    padding: Shape | str,
    dilation: Shape,
) -> Shape:
    axes = 1 if isinstance(node, Conv1d) else 2
    out, inner, *kernel = _weight(node, axes + 2)
    if len(taken) != axes + 1 or taken[0] != inner * node.groups:
        rest = "L" if axes == 1 else "H, W"
        raise NirRefused(
            f"weight of shape {list(node.weight.shape)} in {node.groups} groups takes"
            f" [{inner * node.groups}, {rest}]"
        )
    if node.groups < 1 or out % node.groups:
        raise NirRefused(f"{out} outputs in {node.groups} groups")
    if node.bias.shape != (out,):
        raise NirRefused(f"bias of shape {list(node.bias.shape)}, expected [{out}]")
    if told is not None and told != taken[1:]:
        raise NirRefused(f"input_shape {list(told)}, expected {list(taken[1:])}")
    if padding == "same":
        if any(step != 1 for step in stride):
            raise NirRefused(f"padding 'same' with stride {list(stride)}, expected 1")
        return (int(out), *taken[1:])
    widths = (0,) * axes if isinstance(padding, str) else padding
    return (int(out), *_windows(taken[1:], tuple(kernel), stride, widths, dilation))


@given.register(SumPool2d)
@given.register(AvgPool2d)
def _(node: SumPool2d | AvgPool2d, taken: Shape) -> Shape:
    if len(taken) != 3:
        raise NirRefused("takes [C, H, W]")
    if any(2 * width > size for width, size in zip(node.padding, node.kernel_size, strict=True)):
        raise NirRefused(f"padding {list(node.padding)}, expected at most half of {list(node.kernel_size)}")
    return (taken[0], *_windows(taken[1:], node.kernel_size, node.stride, node.padding, (1, 1)))


def _windows(sizes: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Shape:
    if min(*stride, *dilation, *kernel) < 1 or min(padding) < 0:
        raise NirRefused(f"stride {list(stride)}, dilation {list(dilation)}, padding {list(padding)}")
    spans = [step * (size - 1) + 1 for size, step in zip(kernel, dilation, strict=True)]
    axes = zip(sizes, spans, stride, padding, strict=True)
    found = tuple((size + 2 * width - span) // step + 1 for size, span, step, width in axes)
    if min(found) < 1:
        raise NirRefused(f"a window of {spans} with padding {list(padding)} does not fit")
    return found


@given.register
def _(node: Flatten, taken: Shape) -> Shape:
    axes = len(taken)
    first, last = (dim + axes if dim < 0 else dim for dim in (node.start_dim, node.end_dim))
    if node.input_type is not None and node.input_type != taken:
        raise NirRefused(f"input_type {list(node.input_type)}, expected {list(taken)}")
    if axes == 1 and (node.start_dim, node.end_dim) == (1, -1):
        return taken  # nothing to flatten: NIR's own defaults on a vector
    if not 0 <= first <= last < axes:
        raise NirRefused(f"axes {node.start_dim} to {node.end_dim} of {axes}")
    return (*taken[:first], math.prod(taken[first : last + 1]), *taken[last + 1 :])


def _kind(node: Node) -> str:
    return type(node).__name__
