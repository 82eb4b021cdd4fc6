"""What ExecuTorch has no kernel for, or what splits XNNPACK's part of a graph, by other operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

aten = torch.ops.aten


def table() -> dict[Any, Callable[..., Any]]:
    """For `ExportedProgram.run_decompositions`."""
    import paring.transforms._encoder  # these register their operators
    import paring.transforms.token_merge

    assert paring.transforms
    own = torch.ops.paring
    return {
        aten.scaled_dot_product_attention.default: _attention,
        aten.matmul.default: _matmul,
        aten.sort.stable: _sort_stable,
        aten.sort.default: _sort,
        own.take.default: _take,
        own.nearest.default: _nearest,
        own.look_up.default: _look_up,
    }


def _attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """[B, H, N, D] by three products of matrices [B H, N, D], which XNNPACK takes.

    PyTorch's own decomposition also replaces rows that are wholly masked, which no encoder has; that costs
    four operators outside of XNNPACK, and expands each operand.
    """
    if attn_mask is not None or is_causal or enable_gqa or dropout_p:
        raise NotImplementedError("executorch: attention with a mask, with dropout or of grouped queries")
    rows = [value.flatten(0, 1) for value in (q * (scale or q.shape[-1] ** -0.5), k, v)]
    shares = torch.bmm(rows[0], rows[1].transpose(1, 2)).softmax(-1)
    return torch.bmm(shares, rows[2]).unflatten(0, q.shape[:2])


def _matmul(a: torch.Tensor, b: torch.Tensor) -> Any:
    """Of [B, H, N, K] and [B, H, K, M], by one bmm: PyTorch's own copies each operand first."""
    if a.dim() != 4 or b.dim() != 4 or a.shape[:2] != b.shape[:2]:
        return NotImplemented
    return torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2])


def _sort_stable(
    values: torch.Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    return _sort(values, dim, descending)


def _sort(values: torch.Tensor, dim: int = -1, descending: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """By topk over the whole axis: which of equal values comes first is the kernel's choice."""
    found = values.topk(values.shape[dim], dim, largest=descending, sorted=True)
    return found.values, found.indices


def _take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """x [B, N, C], index [B, K] or [B, K, 1] -> [B, K, C]."""
    return x.gather(1, index.reshape(*index.shape[:2], 1).expand(-1, -1, x.shape[2]))


def _nearest(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = scores.max(dim=-1, keepdim=True)
    return found.values, found.indices


def _look_up(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return values[index]
