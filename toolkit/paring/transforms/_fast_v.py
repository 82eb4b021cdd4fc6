"""FastV: half of the image tokens go after the second layer. https://arxiv.org/abs/2403.06764

Score of an image token: the attention it receives in the last layer that sees all tokens, averaged over
heads. The paper words it as the mean over the tokens that attend; the authors' code takes the last
token's row alone, which needs one row of attention instead of all.
"""

from __future__ import annotations

import torch

from .token_prune import rank

LAYER = 2  # how many layers see every token
RATIO = 0.5


def kept_count(image_tokens: int, ratio: float = RATIO) -> int:
    """round((1 - ratio) * image_tokens): what stays."""
    return round((1 - ratio) * image_tokens)


def received(attention: torch.Tensor, image: tuple[int, int], last_row: bool = True) -> torch.Tensor:
    """What each image token receives.

    Args:
        attention: [B, H, T, L] softmax attention of the sequence's last T tokens, T = L for all.
        image: (start, stop) of the image tokens among the L.
        last_row: True for the authors' code, False for the mean over all T rows.

    Returns:
        [B, stop - start] fp32.
    """
    columns = attention[..., image[0] : image[1]].float()
    return columns[:, :, -1].mean(1) if last_row else columns.mean((1, 2))


def select(scores: torch.Tensor, ratio: float = RATIO) -> torch.Tensor:
    """The image tokens that stay, ascending: [B, n] -> [B, kept_count] int64; equal scores by index."""
    return rank(scores)[1][:, : kept_count(scores.shape[1], ratio)].sort(dim=1).values
