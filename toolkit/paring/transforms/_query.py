"""Query-guided reduction: the tokens most similar to a text stay.

Score of a token: its largest cosine with any of the text's vectors, both in one space (a projector's
output beside word embeddings, or a CLIP-like pair of encoders). The others go, or fuse into one token,
their mean weighted by softmax(score / temperature). Which tokens stay depends on the question; how many
does not.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ._encoder import take
from .token_prune import fuse, rank


def query_scores(x: torch.Tensor, text: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """x [B, N, C], text [B, C] or [B, T, C] -> [B, N] fp32; `valid` [B, T] is 0 for padding of the text."""
    text = text[:, None] if text.ndim == 2 else text
    cosine = F.normalize(x.float(), dim=-1) @ F.normalize(text.float(), dim=-1).transpose(1, 2)
    if valid is not None:
        cosine = cosine.masked_fill(valid[:, None] == 0, -torch.inf)
    return cosine.amax(-1)


def reduce_by_query(
    x: torch.Tensor, scores: torch.Tensor, keep: int, fuse_rest: bool = True, temperature: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `keep` highest-scored tokens in their order, then the fused rest.

    Args:
        x: [B, N, C].
        scores: [B, N].
        keep: tokens that stay; all of them when there are no more.
        fuse_rest: whether the rest becomes one token rather than go.
        temperature: of the weights within the rest, in units of the score.

    Returns:
        x [B, keep (+ 1), C] and the places [B, keep] of what stayed, ascending; equal scores by index.

    Raises:
        ValueError: nothing would stay.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}: at least one token must stay")
    ranked, order = rank(scores)
    stay = order[:, :keep].sort(dim=1).values
    kept = take(x, stay)
    if fuse_rest and keep < x.shape[1]:
        weights = (ranked[:, None, keep:] / temperature).softmax(-1)
        kept = torch.cat([kept, fuse(take(x, order[:, keep:]), weights, False)], 1)
    return kept, stay
