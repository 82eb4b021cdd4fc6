"""The initial weights of a SpikeGPT: those of RWKV-4, as the authors' code has them."""

from __future__ import annotations

import math

import torch
from torch import nn


def time_decay(width: int, depth: float) -> torch.Tensor:
    """w [C], from -5 to 3: slow channels first, more of them deeper (`depth` from 0 to 1)."""
    place = torch.arange(width) / max(width - 1, 1)
    return -5 + 8 * place ** (0.7 + 1.3 * depth)


def time_first(width: int) -> torch.Tensor:
    """u [C]: log 0.3, and -0.5, 0 or 0.5 by turns."""
    return math.log(0.3) + ((torch.arange(width) + 1) % 3 - 1) * 0.5


def time_mix(width: int, power: float) -> torch.Tensor:
    """Shares [1, 1, C] from 0 to 1."""
    return (torch.arange(width) / width)[None, None] ** power


def fill(model: nn.Module) -> None:
    """Orthogonal matrices, a small embedding, and zeros where a layer shall start as nothing."""
    empty = ("att.key", "att.receptance", "att.output", "ffn.value", "ffn.receptance")
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding):
                nn.init.orthogonal_(module.weight, gain=math.sqrt(max(module.weight.shape)) * 1e-4)
            elif isinstance(module, nn.Linear) and name.endswith(empty):
                nn.init.zeros_(module.weight)
            elif isinstance(module, nn.Linear):
                rows, columns = module.weight.shape
                gain = math.sqrt(rows / columns) if rows > columns else 1.0
                nn.init.orthogonal_(module.weight, gain=gain * (0.5 if name == "head" else 1.0))
