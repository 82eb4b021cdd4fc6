"""fp16 inside, fp32 at the edges."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class HalfPrecision(nn.Module):
    """A copy of a model in fp16 that takes and gives fp32, so that callers need not change."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).half()

    def forward(self, pixels: torch.Tensor) -> Any:
        """[B, C, H, W] fp32 -> the model's outputs, floating ones in fp32."""
        outputs = self.model(pixels.half())
        if isinstance(outputs, torch.Tensor):
            return _float(outputs)
        return tuple(_float(output) for output in outputs)


def _float(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
