"""Small SpikeGPTs whose every part does something."""

from __future__ import annotations

import torch
from torch import nn

from paring.transforms._spike_gpt import Config, SpikeGPT


def spike_gpt(width: int = 32, layers: int = 2, vocabulary: int = 256, seed: int = 0) -> SpikeGPT:
    """In eval mode. Matrices that start as zeros are filled, so that neurons fire."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SpikeGPT(Config(vocabulary, width, layers))
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.4)
    return model.eval()
