"""GemFilter: an early layer says which tokens of a long prompt matter. https://arxiv.org/abs/2409.17422

First pass: layers 0 to r. Score of token j: the last token's query dotted with key j, both after rotation,
summed over heads: no division by sqrt(d), no softmax; then averaged over 5 neighbours, zeros beyond the
ends counted. Second pass: the whole model on the k highest-scored token ids, in their order, from position
0 on. k is constant, so both passes have static shapes. Sequences of a batch must have one length:
padding would be scored like text.

The paper protects no token: neither the first one, the template nor the question, and the zeros damp
the last ones. `pinned` ranges mend that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from .token_prune import rank

KERNEL = 5
Range = tuple[int | None, int | None]  # as in a slice: (0, 4), (-32, None)


def last_query_scores(query: torch.Tensor, key: torch.Tensor, chunk: int | None = None) -> torch.Tensor:
    """Raw dot products with the last token's query, summed over heads in fp32.

    Heads of one group share their keys, so their queries are added first. fp16 sums could overflow.

    Args:
        query: [B, H, D] of the last token, after rotation.
        key: [B, H_kv, N, D] after rotation; H is a multiple of H_kv.
        chunk: keys that are read at a time, so that their fp32 copies stay small; None for all at once.

    Returns:
        [B, N] fp32.
    """
    batch, heads, width = query.shape
    groups, count = key.shape[1], key.shape[2]
    grouped = query.float().reshape(batch, groups, heads // groups, width).sum(2)
    if chunk is None:
        return torch.einsum("bgd,bgnd->bn", grouped, key.float())
    parts = [
        torch.einsum("bgd,bgnd->bn", grouped, key[:, :, start : start + chunk].float())
        for start in range(0, count, chunk)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def pooled(scores: torch.Tensor, kernel: int = KERNEL) -> torch.Tensor:
    """Mean over `kernel` neighbours, zeros beyond the ends counted: [B, N] -> [B, N].

    Raises:
        ValueError: the kernel has no middle.
    """
    if kernel % 2 == 0:
        raise ValueError(f"the pooling kernel must be odd, not {kernel}")
    return F.avg_pool1d(scores[:, None], kernel, 1, kernel // 2, count_include_pad=True)[:, 0]


def select(scores: torch.Tensor, k: int, pinned: Sequence[Range] = ()) -> torch.Tensor:
    """The k highest-scored places, ascending: [B, N] -> [B, min(k, N)] int64; equal scores by index.

    Pooling makes plateaus, so ties are common.

    Args:
        scores: pooled.
        k: tokens that stay, the pinned ones included.
        pinned: ranges that stay whatever their score.

    Raises:
        ValueError: more tokens are pinned than stay.
    """
    count = scores.shape[1]
    places = sorted({place for one in pinned for place in range(*slice(*one).indices(count))})
    if len(places) > min(k, count):
        raise ValueError(f"{len(places)} tokens are pinned, but only {min(k, count)} stay")
    if places:
        index = torch.tensor(places, device=scores.device)
        is_pinned = (index[:, None] == torch.arange(count, device=scores.device)).any(0)
        scores = scores.float().masked_fill(is_pinned, torch.inf)
    return rank(scores)[1][:, : min(k, count)].sort(dim=1).values


def gem_filter(
    query: torch.Tensor,
    key: torch.Tensor,
    k: int,
    kernel: int = KERNEL,
    pinned: Sequence[Range] = (),
    chunk: int | None = None,
) -> torch.Tensor:
    """Score, pool and select: query [B, H, D], key [B, H_kv, N, D] -> [B, min(k, N)] places, ascending."""
    return select(pooled(last_query_scores(query, key, chunk), kernel), k, pinned)


def needle_recall(places: torch.Tensor, needle: tuple[int, int]) -> torch.Tensor:
    """Share of the needle's tokens that were selected: places [B, K], needle (start, stop) -> [B] fp32.

    Taken for each layer of a model on prompts with a known needle, it says which layer can filter.
    """
    start, stop = needle
    return ((places >= start) & (places < stop)).sum(1) / (stop - start)


def choose_layer(recall: torch.Tensor, wanted: float = 0.95) -> int:
    """The earliest layer whose mean recall reaches `wanted`; where none does, the best one.

    Args:
        recall: [layers, prompts].
        wanted: mean share of the needles' tokens.
    """
    mean = recall.float().mean(1)
    enough = (mean >= wanted).nonzero()
    return int(enough[0]) if len(enough) else int(mean.argmax())


def prefill_speedup(layers: int, filter_layer: int, tokens: int, k: int) -> float:
    """Tokens times layers without the filter, over those with it: filter_layer + 1 layers run on all.

    Attention's quadratic part is left out. For k much smaller than `tokens`: layers / (filter_layer + 1),
    2.29 for layer 13 of 32.
    """
    kept = min(k, tokens)
    return layers * tokens / ((filter_layer + 1) * tokens + layers * kept)
