"""From MustDrop's thresholds to fixed budgets, by what the thresholds keep on samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from .spatial import THRESHOLD, similar


def budgets(counts: torch.Tensor, quantile: float = 1.0, at_least: int = 1) -> list[int]:
    """Constant counts a stage from those of the threshold runs of samples.

    Args:
        counts: [samples, stages] how many tokens each sample had left after each stage.
        quantile: 1.0 takes the largest count, so that no sample loses a token that its thresholds kept;
            0.5 a typical one.
        at_least: never fewer, for instance the size of the key set.

    Returns:
        One budget a stage, never growing from stage to stage.
    """
    wanted = torch.quantile(counts.double(), quantile, dim=0, interpolation="higher").long()
    return [max(at_least, int(budget)) for budget in wanted.cummin(0).values]


def window_budget(scores: torch.Tensor, threshold: float = THRESHOLD, quantile: float = 0.0) -> int:
    """Windows to merge: scores [samples, W] of `spatial.window_scores`; quantile 0 is the paper's minimum."""
    counts = similar(scores, threshold).double()
    return int(torch.quantile(counts, quantile, interpolation="lower"))


def average_tokens(
    image_tokens: int, left: Sequence[float], stage_layers: Sequence[int], layers: int
) -> float:
    """Image tokens averaged over the layers: what the paper's "192 tokens" means.

    Args:
        image_tokens: in the first layers.
        left: after each stage.
        stage_layers: after which layer each stage works, counted from 0; that layer still sees all.
        layers: how many the model has.
    """
    bounds = [0, *(layer + 1 for layer in stage_layers), layers]
    spans = [stop - start for start, stop in pairwise(bounds)]
    return sum(span * count for span, count in zip(spans, [image_tokens, *left], strict=True)) / layers
