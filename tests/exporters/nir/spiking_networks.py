"""Spiking networks to export, built by hand: what a conversion gives, without one."""

from __future__ import annotations

import torch
from torch import fx, nn

from paring.transforms._spikes import IntegrateFire, SpikingNetwork
from paring.transforms._spikes.coding import encoder
from paring.transforms._spikes.layers import Scale

SHAPE = (2, 8, 8)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, name: str) -> bool:
        return isinstance(m, (IntegrateFire, Scale)) or super().is_leaf_module(m, name)


def spiking(model: nn.Module, steps: int = 6, coding: str = "constant", shape=SHAPE) -> SpikingNetwork:
    """A module with IntegrateFire in it as a network over T steps."""
    body = fx.GraphModule(model.eval(), _Tracer().trace(model))
    return SpikingNetwork(body, encoder(coding, steps, shape, 1.5, 7), steps, coding, shape)


def neurons(
    channels: int, steps: int = 6, reset: str = "soft", initial: float = 0.0, rank: int = 2
) -> IntegrateFire:
    """A layer with a threshold for each channel; `initial` as a share of it."""
    threshold = (torch.rand(channels, *(1,) * rank) + 0.5).float()
    return IntegrateFire(threshold, threshold * initial, steps, reset)


class Residual(nn.Module):
    """Convolutions with groups, dilation, stride and padding, a skip, pooling, flattening."""

    def __init__(self, reset: str = "soft", initial: float = 0.0, steps: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        like = {"steps": steps, "reset": reset, "initial": initial}
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.block = nn.Sequential(
            neurons(8, **like), nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=4, bias=False)
        )
        self.join = neurons(8, **like)
        self.down = nn.Conv2d(8, 6, 3, stride=2, padding=1)
        self.last = neurons(6, **like)
        self.pool, self.flat, self.head = nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.join(x + self.block(x))
        return self.head(self.flat(self.pool(self.last(self.down(x)))))
