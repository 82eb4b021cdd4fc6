"""Where a reshaped, transposed or sliced tensor stands in the one it was made of: offset and strides.

So a kernel reads heads out of a projection's output, where the graph would copy them. The first dimension of
everything is the batch, whose size may be open and which is never split.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

aten = torch.ops.aten
_SAME = (aten.clone.default, aten.contiguous.default, aten.expand.default, aten.alias.default)


@dataclass(frozen=True)
class Strided:
    """A tensor as a view of `base`: its sizes and, in elements of one sample or all, strides and offset."""

    base: Any
    sizes: tuple[Any, ...]
    strides: tuple[int, ...]
    offset: int = 0

    def permuted(self, order: list[int]) -> Strided:
        """Its dimensions in another order."""
        sizes, strides = (tuple(of[axis] for axis in order) for of in (self.sizes, self.strides))
        return Strided(self.base, sizes, strides, self.offset)

    def selected(self, axis: int, index: int) -> Strided:
        """One index of a dimension, which goes away."""
        axis %= len(self.sizes)
        keep = [i for i in range(len(self.sizes)) if i != axis]
        found = self.permuted(keep)
        return Strided(self.base, found.sizes, found.strides, self.offset + index * self.strides[axis])


def strided(node: Any) -> Strided | None:
    """Follow a node back through what moves nothing; None where a step would copy, or its sizes are open."""
    shape = _shape(node)
    if shape is None:
        return None
    target = node.target if node.op == "call_function" else None
    if target in _SAME and _shape(node.args[0]) == shape:
        return strided(node.args[0])
    step = _STEPS.get(target)
    if step is None:
        return _whole(node, shape)
    if target is operator.getitem:
        return _piece(node)
    before = strided(node.args[0])
    found = None if before is None else step(before, node, shape)
    return _whole(node, shape) if found is None else found


def _whole(node: Any, shape: tuple[Any, ...]) -> Strided | None:
    inner = shape[1:]
    if not all(isinstance(size, int) for size in inner):
        return None
    return Strided(node, shape, tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))))


def _shape(node: Any) -> tuple[Any, ...] | None:
    """Sizes, those that are open as text."""
    value = getattr(node, "meta", {}).get("val")
    if not isinstance(value, torch.Tensor):
        return None
    return tuple(size if isinstance(size, int) else str(size) for size in value.shape)


def _permute(before: Strided, node: Any, shape: tuple[Any, ...]) -> Strided:
    return before.permuted([axis % len(shape) for axis in node.args[1]])


def _transpose(before: Strided, node: Any, shape: tuple[Any, ...]) -> Strided:
    order = list(range(len(shape)))
    first, second = (axis % len(shape) for axis in node.args[1:3])
    order[first], order[second] = order[second], order[first]
    return before.permuted(order)


def _select(before: Strided, node: Any, shape: tuple[Any, ...]) -> Strided:
    return before.selected(node.args[1], node.args[2])


def _slice(before: Strided, node: Any, shape: tuple[Any, ...]) -> Strided | None:
    given: list[Any] = [*node.args[1:], *[0, 0, None, 1][len(node.args) - 1 :]]
    axis, start, _, step = given
    if step != 1 or not isinstance(start, int) or start < 0:
        return None
    return Strided(before.base, shape, before.strides, before.offset + start * before.strides[axis])


def _squeeze(before: Strided, node: Any, shape: tuple[Any, ...]) -> Strided:
    axes = {axis % len(before.sizes) for axis in node.args[1]}
    return before.permuted([i for i in range(len(before.sizes)) if i not in axes])


def _view(before: Strided, node: Any, shape: tuple[Any, ...]) -> Strided | None:
    """Split or join dimensions after the batch, where neighbours lie as if they were one."""
    if not before.sizes or not shape or before.sizes[0] != shape[0]:
        return None
    old = [(s, t) for s, t in zip(before.sizes[1:], before.strides[1:], strict=True) if s != 1]
    if not all(isinstance(size, int) for size in (*shape[1:], *(s for s, _ in old))):
        return None
    runs: list[list[int]] = []  # [size, stride of the innermost]
    for size, stride in old:
        if runs and runs[-1][1] == size * stride:
            runs[-1] = [runs[-1][0] * size, stride]
        else:
            runs.append([size, stride])
    strides: list[int] = []
    for size in reversed(shape[1:]):
        if size == 1:
            strides.append(0)
            continue
        if not runs or runs[-1][0] % size:
            return None
        strides.append(runs[-1][1])
        runs[-1] = [runs[-1][0] // size, runs[-1][1] * size]
        if runs[-1][0] == 1:
            runs.pop()
    return Strided(before.base, shape, (before.strides[0], *reversed(strides)), before.offset)


def _piece(node: Any) -> Strided | None:
    """One of what `unbind` made."""
    source, index = node.args
    if source.target is not aten.unbind.int:
        shape = _shape(node)
        return None if shape is None else _whole(node, shape)
    before = strided(source.args[0])
    axis = source.args[1] if len(source.args) > 1 else 0
    return None if before is None else before.selected(axis, index)


_STEPS: dict[Any, Any] = {
    aten.permute.default: _permute,
    aten.transpose.int: _transpose,
    aten.select.int: _select,
    aten.slice.Tensor: _slice,
    aten.squeeze.dims: _squeeze,
    aten.view.default: _view,
    aten.reshape.default: _view,
    aten._unsafe_view.default: _view,
    operator.getitem: _piece,
}
