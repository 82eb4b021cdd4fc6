"""Distillation: answers, labels and features. Hinton et al., https://arxiv.org/abs/1503.02531

L = w_logits T^2 KL(softmax(t / T) || softmax(s / T)) + w_labels CE(s, labels) + w_features F + auxiliary

with the original's logits t, the changed model's s, and F the relative squared error of the blocks' outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from ..recipe._recover import Loss
from ._features import BlockOutputs, feature_loss
from ._forms import Auxiliary


@dataclass(frozen=True, eq=False)
class Distillation:
    """The parts of the loss, already weighted, by name."""

    original: nn.Module
    plain: nn.Module  # the changed model itself, where several devices wrap it
    weights: Loss
    features: tuple[BlockOutputs, BlockOutputs] | None = None  # the original's, the changed model's
    auxiliary: Sequence[Auxiliary] = ()

    def __call__(
        self, model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Pixels [B, C, H, W] and labels [B] -> scalars."""
        weights = self.weights
        with torch.no_grad():
            target = logits(self.original(pixels))
        answer = logits(model(pixels))
        parts: dict[str, torch.Tensor] = {}
        if weights.logits:
            parts["logits"] = weights.logits * divergence(answer, target, weights.temperature)
        if weights.labels:
            smoothing = weights.label_smoothing
            parts["labels"] = weights.labels * cross_entropy(answer, labels, label_smoothing=smoothing)
        if self.features is not None:
            theirs, own = (outputs.take() for outputs in self.features)
            parts["features"] = weights.features * feature_loss(own, theirs, self.features[0].prefix)
        if self.auxiliary:
            parts["auxiliary"] = torch.stack([one(self.plain) for one in self.auxiliary]).sum()
        return parts


def divergence(answer: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(target || answer) of logits [B, K] at temperature T, mean over B."""
    own, other = (log_softmax(each / temperature, dim=-1) for each in (answer, target))
    return temperature**2 * kl_div(own, other, log_target=True, reduction="batchmean")


def logits(outputs: Any) -> torch.Tensor:
    """The first of a model's outputs, [B, K]."""
    first: torch.Tensor = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    return first
