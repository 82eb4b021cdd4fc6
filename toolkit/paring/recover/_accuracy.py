"""Top-1 accuracy in PyTorch, of the original, the transformed and the recovered model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ..data import ImageData, Preprocess
from ..quality import paired_interval, wilson_interval
from ._loss import logits

BATCH = 100


def answers(model: nn.Module, data: ImageData, preprocess: Preprocess, device: torch.device) -> np.ndarray:
    """[N] bool: is the largest logit at the label? `model` is on `device` afterwards."""
    model, right = model.to(device).eval(), []
    with torch.inference_mode():
        for start in range(0, len(data.images), BATCH):
            pixels = torch.from_numpy(preprocess.apply(data.images[start : start + BATCH]))
            found = logits(model(pixels.to(device))).argmax(-1).cpu().numpy()
            right.append(found == data.labels[start : start + BATCH])
    return np.concatenate(right)


def summary(
    original: np.ndarray,
    transformed: np.ndarray,
    recovered: np.ndarray,
    metric: str = "top1",
    what: str = "images",
) -> dict[str, Any]:
    """Accuracies with Wilson's intervals, and paired differences: what is got back, what is still lost.

    Args:
        original, transformed, recovered: [N] bool, what each model answers right.
        metric: what the share of right answers is called.
        what: they are answers to.
    """
    named = {"original": original, "transformed": transformed, "recovered": recovered}
    found: dict[str, Any] = {
        name: {metric: float(right.mean()), "ci95": wilson_interval(right)} for name, right in named.items()
    }
    for name, (more, less) in {"gain": (recovered, transformed), "drop": (original, recovered)}.items():
        difference = float(more.mean() - less.mean())
        found[name] = {metric: difference, "ci95": paired_interval(more, less)}
    return {**found, what: len(original)}
