"""SparseVLM's raters: the words that look at the image. https://arxiv.org/abs/2410.04417"""

from __future__ import annotations

import torch


def text_raters(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """Which words' relevance R_t = mean_j softmax_t(image text^T)_jt is above the mean over the words.

    Where none is above it, as of a single word, all are raters.

    Args:
        image: [B, n, C] as it enters the language model.
        text: [B, T, C] likewise.

    Returns:
        [B, T] bool.
    """
    relevance = (image.float() @ text.float().transpose(1, 2)).softmax(-1).mean(1)  # [B, T]
    raters = relevance > relevance.mean(1, keepdim=True)
    return raters | ~raters.any(1, keepdim=True)
