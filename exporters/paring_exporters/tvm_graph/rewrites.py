"""Groups of an exported program's operators become one node each, for which there is a kernel.

- a linear layer, or a shift layer, with the activation and the residual that follow it: `paring_layer`;
- softmax attention with the splitting and joining of heads around it: `paring_attention`.

Everything else stays, and is lowered by relax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from paring.transforms._shift import op  # registers paring::shift_linear

from .empties import drop_empty
from .kernels.attention import Attention, Place
from .strided import Strided, strided

aten = torch.ops.aten
LANES = 16
assert op
LAYERS = (aten.linear.default, torch.ops.paring.shift_linear.default)


def paring_layer(*operands: Any) -> None:
    """The target of a fused layer: x, then the residual where there is one; `meta["paring"]` is a `Layer`."""
    raise NotImplementedError


def paring_attention(*operands: Any) -> None:
    """The target of fused attention; `meta["paring"]` is an `Attention`."""
    raise NotImplementedError


@dataclass(frozen=True)
class Layer:
    """A linear layer over constants.

    Attributes:
        operator: what it was, `aten.linear` or `paring.shift_linear`.
        arguments: its arguments after x; nodes among them stand for constants.
        activation, residual: what is fused behind it.
    """

    operator: Any
    arguments: tuple[Any, ...]
    activation: str = ""
    residual: bool = False


def rewrite(program: torch.export.ExportedProgram, constants: Mapping[str, torch.Tensor]) -> None:
    """Rewrite the program's graph in place.

    Args:
        program: decomposed, but for `program.WHOLE`.
        constants: parameters and buffers by the name of their node.
    """
    graph = program.graph_module.graph
    drop_empty(graph)
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in LAYERS:
            _fuse_layer(graph, node, constants)
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is aten.scaled_dot_product_attention.default:
            _fuse_attention(graph, node, *_of_one_node(node))
        elif node.op == "call_function" and node.target is aten.matmul.default:
            _fuse_attention(graph, node, *_of_products(node))
    # By itself torch keeps attention that nothing reads, for the sake of dropout's random numbers.
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    graph.lint()


def _fuse_layer(graph: Any, node: Any, constants: Mapping[str, torch.Tensor]) -> None:
    x, *others = node.args
    held = [one for one in others if isinstance(one, torch.fx.Node)]
    if not _fits(x) or any(one.name not in constants for one in held):
        return
    layer, last, operands = Layer(node.target, tuple(others)), node, [x]
    following = _only_user(last)
    if following is not None and following.target is aten.gelu.default and not following.kwargs:
        layer, last = replace(layer, activation="gelu"), following
        following = _only_user(last)
    if following is not None and following.target is aten.add.Tensor and not following.kwargs:
        other = next((one for one in following.args if one is not last), None)
        if isinstance(other, torch.fx.Node) and _same_shape(other, last):
            layer, last, operands = replace(layer, residual=True), following, [x, other]
    _replace(graph, last, paring_layer, operands, layer)


def _fits(x: Any) -> bool:
    """Whether all but the batch of a floating tensor is fixed."""
    value = x.meta.get("val")
    fixed = isinstance(value, torch.Tensor) and all(isinstance(size, int) for size in value.shape[1:])
    return fixed and value.ndim >= 2 and value.dtype == torch.float32


def _of_one_node(node: Any) -> tuple[Any, ...]:
    query, key, value, *rest = node.args
    plain = not any(one not in (None, 0.0, False) for one in rest)
    plain = plain and not (node.kwargs.keys() - {"scale"})
    if not plain:
        return None, None, None, 1.0
    scale = node.kwargs.get("scale")
    return query, key, value, query.meta["val"].shape[-1] ** -0.5 if scale is None else scale


def _of_products(node: Any) -> tuple[Any, ...]:
    """matmul(softmax(matmul(q, k^T)), v)."""
    weights, value = node.args
    soft = (aten.softmax.int, aten._softmax.default)
    if weights.op != "call_function" or weights.target not in soft or len(weights.users) != 1:
        return None, None, None, 1.0
    scores, axis = weights.args[:2]
    ours = scores.op == "call_function" and scores.target is aten.matmul.default and len(scores.users) == 1
    if not ours or axis not in (-1, 3) or scores.meta["val"].ndim != 4:
        return None, None, None, 1.0
    query, turned = scores.args
    return query, (turned,), value, 1.0


def _fuse_attention(graph: Any, node: Any, query: Any, key: Any, value: Any, scale: float) -> None:
    if query is None:
        return
    turned = isinstance(key, tuple)
    q, k, v = (strided(one) for one in (query, key[0] if turned else key, value))
    if q is None or k is None or v is None or len(q.sizes) != 4:
        return
    k = k.permuted([0, 1, 3, 2]) if turned else k
    _, heads, tokens, dim = q.sizes
    same = q.sizes == k.sizes == v.sizes
    if not same or dim % LANES or any(one.strides[3] != 1 for one in (q, k, v)):
        return
    if any(one.base.meta["val"].dtype != torch.float32 for one in (q, k, v)):
        return
    bases = list(dict.fromkeys([q.base, k.base, v.base]))
    if any(base.meta["val"].shape[0] != query.meta["val"].shape[0] for base in bases):
        return
    shapes = [tuple(base.meta["val"].shape[1:]) for base in bases]
    joined = _joined(node, heads * dim)
    out = (
        Place(len(bases), heads * tokens * dim, tokens * dim, dim)
        if joined is None
        else Place(len(bases), heads * tokens * dim, dim, heads * dim)
    )
    last = node if joined is None else joined
    shapes.append(tuple(last.meta["val"].shape[1:]))
    at = [_place(one, bases) for one in (q, k, v)]
    batch = query.meta["val"].shape[0]
    fixed = batch if isinstance(batch, int) else None
    layer = Attention(heads, tokens, dim, float(scale), tuple(shapes), at[0], at[1], at[2], out, fixed)
    _replace(graph, last, paring_attention, bases, layer)


def _joined(node: Any, width: int) -> Any:
    """The node that joins the heads again, [B, N, H * d], if nothing else reads them."""
    turned = _only_user(node)
    if turned is None or turned.target not in (aten.permute.default, aten.transpose.int):
        return None
    order = [axis % 4 for axis in (turned.args[1] if len(turned.args) == 2 else turned.args[1:])]
    if order not in ([0, 2, 1, 3], [1, 2], [2, 1]):
        return None
    user = _only_user(turned)
    if user is not None and user.target is aten.clone.default:
        user = _only_user(user)
    views = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)
    if user is None or user.target not in views:
        return None
    shape = user.meta["val"].shape
    return user if len(shape) == 3 and shape[2] == width else None


def _place(found: Strided, bases: list[Any]) -> Place:
    batch, head, token, _ = found.strides
    return Place(bases.index(found.base), batch, head, token, found.offset)


def _only_user(node: Any) -> Any:
    user = next(iter(node.users), None)
    return user if user is not None and len(node.users) == 1 and user.op == "call_function" else None


def _same_shape(first: Any, second: Any) -> bool:
    a, b = (one.meta.get("val") for one in (first, second))
    return isinstance(a, torch.Tensor) and a.dtype == b.dtype and [*map(str, a.shape)] == [*map(str, b.shape)]


def _replace(graph: Any, last: Any, target: Any, operands: list[Any], meaning: Any) -> None:
    with graph.inserting_before(last):
        made = graph.call_function(target, tuple(operands))
    made.meta.update(val=last.meta["val"], paring=meaning)
    last.replace_all_uses_with(made)
    graph.erase_node(last)
