"""Small trained-looking networks of every form that converts."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

SHAPE = (3, 16, 16)


class Residual(nn.Module):
    """Strided and depthwise convolutions, identity and projected short ways, functional and module ReLU."""

    input_shape = SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.act = nn.ReLU6()
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        y = self.act(self.depthwise(x))
        x = self.act(self.point(y) + x)
        return self.head(x.mean((2, 3)))


class PreNorm(nn.Module):
    """Batch norm before its convolution, a constant added and multiplied, a padded convolution by hand."""

    input_shape = SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, 2)
        self.head = nn.Linear(6 * 7 * 7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first((x - 0.1) / 0.5)
        y = functional.pad(torch.relu(self.norm(x)), (0, 1, 0, 1))
        y = self.second(y).clamp(0, 2.5)
        return self.head(y.reshape(len(y), -1))


class Pooled(nn.Module):
    """Max pooling as networks have it: 2x2 before a ReLU, 3x3 with padding and overlap behind one."""

    input_shape = SHAPE

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.wide = nn.MaxPool2d(3, 2, 1)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.wide(functional.relu(self.first(x)))
        x = functional.relu(functional.max_pool2d(self.second(x), 2))
        return self.head(x.flatten(1))


class Perceptron(nn.Module):
    """Linear layers only, of a shape that the first of them tells."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 6)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


KINDS: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (Residual, PreNorm, Pooled, Perceptron)}


def made(name: str) -> nn.Module:
    """In eval mode, with batch norm that has seen something."""
    torch.manual_seed(0)
    model = KINDS[name]()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.running_mean, std=0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return model.eval()


def images(count: int, model: nn.Module, seed: int = 0) -> torch.Tensor:
    """Normally distributed inputs of a model."""
    shape = getattr(model, "input_shape", (20,))
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
