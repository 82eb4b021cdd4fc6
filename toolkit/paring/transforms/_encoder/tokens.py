"""The tokens that travel through an encoder, and the bookkeeping that travels with them."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Tokens(NamedTuple):
    """A sequence of tokens between two blocks.

    Attributes:
        x: [B, N, C] the tokens.
        size: [B, N, 1] how many patches each token stands for; None while every one stands for one.
        owner: [B, P] for each original token the index of the token that holds it now, -1 when it was
            dropped; None unless a map is asked for.
        margin: [B] the smallest gap by which any selection so far was decided, relative to the scores;
            None unless a map is asked for. Below rounding error, another backend may select otherwise.
    """

    x: torch.Tensor
    size: torch.Tensor | None = None
    owner: torch.Tensor | None = None
    margin: torch.Tensor | None = None

    def moved(self, target: torch.Tensor) -> torch.Tensor | None:
        """`owner` after token i went to index `target[b, i]` ([B, N], -1 for dropped)."""
        if self.owner is None:
            return None
        held = target.gather(1, self.owner.clamp(min=0))
        return torch.where(self.owner < 0, self.owner, held)

    def tightened(self, gap: torch.Tensor) -> torch.Tensor | None:
        """`margin` after a selection that was decided by `gap` ([B])."""
        return None if self.margin is None else torch.minimum(self.margin, gap)


def take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of each sequence: x [B, N, C], index [B, K] -> [B, K, C].

    A gather of whole rows: `torch.gather` needs the index repeated over C, which is slow when exported.
    """
    batch, count, width = x.shape
    start = torch.arange(batch, device=x.device)[:, None] * count
    rows = x.reshape(batch * count, width).index_select(0, (index + start).flatten())
    return rows.reshape(batch, index.shape[1], width)
