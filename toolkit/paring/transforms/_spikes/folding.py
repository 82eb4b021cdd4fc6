"""Batch norm and padding go into the weights beside them: the same function with fewer operations."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx import GraphModule, Node

from .layers import WEIGHTED, Affine, ZeroPad, convolution, linear, with_outputs_scaled
from .lifting import put, shape_of, shaped


def folded(body: GraphModule, shape: tuple[int, ...]) -> GraphModule:
    """Fold what can be; an affine step without weights before it becomes weights of its own. In place.

    Raises:
        ValueError: padding with no convolution behind it.
    """
    for node in list(body.graph.nodes):
        if node.op != "call_module":
            continue
        module = body.get_submodule(str(node.target))
        if isinstance(module, Affine):
            _fold_affine(body, node, module)
        elif isinstance(module, ZeroPad):
            _fold_pad(body, node, module)
    return shaped(body, shape)


def module_of(body: GraphModule, node: object) -> nn.Module | None:
    """What a node of the graph calls; None for another node."""
    is_call = isinstance(node, Node) and node.op == "call_module"
    return body.get_submodule(str(node.target)) if is_call and isinstance(node, Node) else None


def _fold_affine(body: GraphModule, node: Node, affine: Affine) -> None:
    before = node.args[0]
    layer = module_of(body, before)
    assert isinstance(before, Node)
    if isinstance(layer, WEIGHTED) and len(before.users) == 1:
        put(body, str(before.target), with_outputs_scaled(layer, affine.scale, affine.shift))
        node.replace_all_uses_with(before)
        body.graph.erase_node(node)
    elif (rank := len(shape_of(before)) - 1) > 0:
        weight = affine.scale.reshape(-1, 1, *(1 for _ in range(rank)))
        put(body, str(node.target), convolution(weight, affine.shift, groups=len(affine.scale)))
    else:
        put(body, str(node.target), linear(torch.diag(affine.scale), affine.shift))


def _fold_pad(body: GraphModule, node: Node, pad: ZeroPad) -> None:
    (user,) = node.users if len(node.users) == 1 else (None,)
    layer = module_of(body, user)
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        raise ValueError(
            f"{node.target} pads what no single convolution takes; padding of a convolution converts"
        )
    assert isinstance(user, Node)
    put(body, str(user.target), padded(layer, pad.pad, str(user.target)))
    before = node.args[0]
    assert isinstance(before, Node)
    node.replace_all_uses_with(before)
    body.graph.erase_node(node)


def padded(layer: nn.Conv1d | nn.Conv2d, pad: tuple[int, ...], name: str) -> nn.Conv1d | nn.Conv2d:
    """The convolution with zeros put around its input first, `pad` as PyTorch orders it.

    Where the sides differ the kernel grows by zeros on the narrower one, so that both are padded alike.
    """
    rank = layer.weight.ndim - 2
    own = [int(size) for size in layer.padding]
    weight, both = layer.weight.detach(), list[int]()
    grown: list[int] = []  # from the last axis on, as `functional.pad` orders them
    for axis in reversed(range(rank)):
        at = 2 * (rank - 1 - axis)
        left, right = (own[axis] + (pad[at + side] if at < len(pad) else 0) for side in (0, 1))
        widest, gap = max(left, right), int(layer.dilation[axis])
        if (widest - left) % gap or (widest - right) % gap:
            raise ValueError(f"{name} is dilated and its sides are padded differently; alike they convert")
        grown += [(widest - left) // gap, (widest - right) // gap]
        both.insert(0, widest)
    weight = nn.functional.pad(weight, grown)
    how = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    return convolution(weight, layer.bias, padding=tuple(both), **how)
