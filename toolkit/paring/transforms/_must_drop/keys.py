"""MustDrop's second stage: the patches that are never dropped. https://arxiv.org/abs/2411.10803

Scores are the class token's attention, averaged over heads, in the vision encoder's **last** layer, though
the features that the language model gets come from the last but one.
"""

from __future__ import annotations

import math

import torch

from ..token_prune import rank

RATIO = 0.08


def key_count(patches: int, ratio: float = RATIO) -> int:
    """ceil(ratio * patches): 47 of 576. The small slack keeps rounding error from adding one."""
    return min(patches, math.ceil(ratio * patches - 1e-9))


def key_set(class_scores: torch.Tensor, ratio: float = RATIO) -> torch.Tensor:
    """The patches of the highest score: [B, n], class token left out -> [B, K] int64, ascending."""
    order = rank(class_scores)[1]
    return order[:, : key_count(class_scores.shape[1], ratio)].sort(dim=1).values


def remap(keys: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The places of `keys` within a sequence of survivors.

    Args:
        keys: [B, K] places before the step, each of them among the survivors.
        kept: [B, n] places before the step of what survived, ascending.

    Returns:
        [B, K] places after the step: how many survivors lie before each key.
    """
    return (kept[:, None, :] < keys[:, :, None]).sum(-1)
