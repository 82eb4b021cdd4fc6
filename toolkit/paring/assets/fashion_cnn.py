"""The embedded convolutional network, trained on Fashion-MNIST (see `fashion_cnn.md`), for spike_convert."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "fashion_cnn.safetensors"
INPUT_SHAPE = (1, 28, 28)


def convolution(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """A convolution that keeps the size, and batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Block(nn.Module):
    """Two convolutions beside a short way, [B, C, H, W] -> [B, D, H, W]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs)
        self.second = convolution(outputs, outputs)
        self.short = convolution(inputs, outputs, kernel=1)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of both ways, rectified."""
        return self.relu(self.second(functional.relu(self.first(x))) + self.short(x))


class FashionCNN(nn.Module):
    """Two plain convolutions, two residual blocks, average pooling: [B, 1, 28, 28] -> [B, 10] logits."""

    input_shape = INPUT_SHAPE

    def __init__(self, width: int = 20) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            convolution(1, width), nn.ReLU(), convolution(width, width), nn.ReLU(), nn.AvgPool2d(2)
        )
        self.middle = Block(width, 2 * width)
        self.pool = nn.AvgPool2d(2)
        self.last = Block(2 * width, 4 * width)
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.last(self.pool(self.middle(self.stem(x))))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))
