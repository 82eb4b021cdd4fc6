"""What has no elements leaves a graph: TVM compiles no gather of no rows.

Token merging makes such tensors where every token of one half merges: the places of those that stay are none.
"""

from __future__ import annotations

from typing import Any

import torch

aten = torch.ops.aten


def drop_empty(graph: Any) -> None:
    """Leave operands without elements out of concatenations, and then what only they needed."""
    calls = [node for node in graph.nodes if node.op == "call_function"]
    for node in calls:
        if node.target is aten.cat.default:
            _shorten(node)
    graph.eliminate_dead_code()
    for node in calls:
        if node.target is aten.split_with_sizes.default and 0 in node.args[1]:
            _whole(node)
    graph.eliminate_dead_code()


def _shorten(node: Any) -> None:
    parts, *rest = node.args
    kept = [part for part in parts if not _empty(part)]
    if len(kept) == len(parts) or not kept:
        return
    if len(kept) == 1:
        node.replace_all_uses_with(kept[0])
    else:
        node.args = (kept, *rest)


def _whole(node: Any) -> None:
    """A split whose only piece that holds anything is all of it: its readers take what it split."""
    x, sizes, *_ = node.args
    pieces = list(node.users)
    if sum(size != 0 for size in sizes) == 1 and all(sizes[piece.args[1]] for piece in pieces):
        for piece in pieces:
            piece.replace_all_uses_with(x)


def _empty(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and any(size == 0 for size in value.shape if isinstance(size, int))
