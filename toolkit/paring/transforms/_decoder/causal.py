"""Causal attention of a prompt over itself alone, without padding and without a cache.

Without a window nothing of size S x S exists for a long prompt: PyTorch's kernel sees that it is causal.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None = None
) -> torch.Tensor:
    """Softmax attention where token i sees the tokens up to i.

    Args:
        query: [B, H, S, D].
        key, value: [B, G, S, D]; H is a multiple of G.
        scale: of the scores.
        window: how many tokens back a token sees, itself included; None is all.

    Returns:
        [B, H, S, D].
    """
    grouped = query.shape[1] != key.shape[1]
    bias = None
    if window is not None and window < query.shape[2]:
        rows = torch.arange(query.shape[2], device=query.device)
        bias = (rows[None] <= rows[:, None]) & (rows[None] > rows[:, None] - window)
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, is_causal=bias is None, scale=scale, enable_gqa=grouped
    )
