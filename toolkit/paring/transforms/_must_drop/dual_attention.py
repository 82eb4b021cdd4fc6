"""MustDrop's third stage: what does the text attend to? https://arxiv.org/abs/2411.10803

A [B, T, n] is softmax attention averaged over heads: rows are text tokens **after** the image, columns the
surviving image tokens. With c_j = sum_i A_ij and m_j = max_i A_ij, token j goes iff

    c_j < global_threshold * sum_j c_j   and   m_j < individual_threshold,

unless it is a key. How many go depends on the values. The same rule as a score,

    s_j = max(c_j / (global_threshold * sum_j c_j), m_j / individual_threshold),   +inf for keys,

keeps exactly s_j >= 1; keeping the K highest scores fixes the count, and equals the thresholds' choice
when K is how many they keep.
"""

from __future__ import annotations

import torch

from ..token_prune import rank


def dual_scores(
    attention: torch.Tensor, valid: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(c, m), both [B, n] fp32, of A [B, T, n]; `valid` [B, T] is 0 for rows of padding."""
    attention = attention.float()
    if valid is not None:
        attention = attention * valid[..., None]
    return attention.sum(1), attention.amax(1)


def passes(
    c: torch.Tensor,
    m: torch.Tensor,
    global_threshold: float,
    individual_threshold: float,
    keys: torch.Tensor | None = None,
) -> torch.Tensor:
    """The threshold rule: [B, n] bool, True for what stays. keys: [B, K] places that stay anyway."""
    stays = (c >= global_threshold * c.sum(1, keepdim=True)) | (m >= individual_threshold)
    return stays if keys is None else stays | _is_key(keys, c.shape[1])


def survivors(stays: torch.Tensor) -> list[torch.Tensor]:
    """The places that stay of each sample, ascending. Their counts depend on the values and may differ."""
    return [row.nonzero(as_tuple=True)[0] for row in stays]


def budget_scores(
    c: torch.Tensor,
    m: torch.Tensor,
    global_threshold: float,
    individual_threshold: float,
    keys: torch.Tensor | None = None,
) -> torch.Tensor:
    """s [B, n] fp32 of the module's docstring. A threshold of 0 keeps all: s is huge then, +inf for keys."""
    everything = torch.full_like(c, torch.finfo(c.dtype).max)
    together, alone = everything, everything
    if global_threshold > 0:
        together = c / (global_threshold * c.sum(1, keepdim=True))
    if individual_threshold > 0:
        alone = m / individual_threshold
    scores = torch.maximum(together, alone)
    return scores if keys is None else scores.masked_fill(_is_key(keys, c.shape[1]), torch.inf)


def keep_budget(scores: torch.Tensor, keep: int, keys: int = 0) -> torch.Tensor:
    """The `keep` highest of scores [B, n] -> [B, keep] places, ascending; equal scores by index.

    Raises:
        ValueError: `keep` is less than the `keys` tokens that must stay, or more than there are.
    """
    if not max(keys, 1) <= keep <= scores.shape[1]:
        raise ValueError(
            f"cannot keep {keep} of {scores.shape[1]} tokens: at least the {max(keys, 1)} keys must stay"
        )
    return rank(scores)[1][:, :keep].sort(dim=1).values


def _is_key(keys: torch.Tensor, count: int) -> torch.Tensor:
    return (keys[:, :, None] == torch.arange(count, device=keys.device)).any(1)
