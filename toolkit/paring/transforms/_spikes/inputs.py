"""What inputs a network takes, where it says so."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

UNKNOWN = "the shape of its input is not known; set spike_convert.input_shape, as in [3, 224, 224]"
NORMAL = 16  # normally distributed inputs where there are no images


def input_shape(model: nn.Module, given: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape of one input, without the batch; None where neither the user nor the model says.

    A model says so by an attribute `input_shape`, by timm's `pretrained_cfg`, by transformers' `config`, or
    by a linear layer as its first.
    """
    own = given or getattr(model, "input_shape", None)
    if own is not None:
        return tuple(int(size) for size in own)
    timm: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if isinstance(timm, dict) and timm.get("input_size"):
        return tuple(timm["input_size"])
    config: Any = getattr(model, "config", None)
    size = getattr(config, "image_size", None)
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        return int(getattr(config, "num_channels", 3)), int(height), int(width)
    first = next((module for module in model.modules() if not list(module.children())), None)
    return (first.in_features,) if isinstance(first, nn.Linear) else None


def normal_inputs(shape: tuple[int, ...], seed: int) -> list[torch.Tensor]:
    """Batches of normally distributed inputs, [B, *shape]."""
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(NORMAL, *shape, generator=generator).split(4))
