"""Modules that several families share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * weight (https://arxiv.org/abs/1910.07467)."""

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = weight, epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., C] -> [..., C]."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class GatedMlp(nn.Module):
    """down(activation(gate(x)) * up(x)) (https://arxiv.org/abs/2002.05202)."""

    def __init__(self, gate: nn.Linear, up: nn.Linear, down: nn.Linear, activation: nn.Module) -> None:
        super().__init__()
        self.gate, self.up, self.down, self.activation = gate, up, down, activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., C] -> [..., C]."""
        return self.down(self.activation(self.gate(x)) * self.up(x))


class Embedding(nn.Module):
    """Token embeddings, plus learned positions where the family has them."""

    def __init__(self, tokens: nn.Embedding, positions: nn.Embedding | None = None) -> None:
        super().__init__()
        self.tokens, self.positions = tokens, positions

    def forward(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """[B, S] ids and positions -> [B, S, C]."""
        found = self.tokens(input_ids)
        return found if self.positions is None else found + self.positions(positions)


def rms_norm(module: Any) -> RMSNorm:
    """transformers' norm as ours."""
    return RMSNorm(module.weight, float(module.variance_epsilon))
