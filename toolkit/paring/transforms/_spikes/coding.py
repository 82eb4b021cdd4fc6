"""How an image becomes T inputs, [B, ...] -> [T, B, ...]. The mean over T stands for the image in each.

- constant: the image itself at every step, a current.
- rate: a spike of the size of `scale` and the sign of the value, with the probability |value| / scale
  (Bernoulli). The draws are fixed by a seed and lie in a buffer, the same for each image, so that an answer
  does not depend on batch mates and the exported graph gives the same one.
- latency: one graded spike for a value, T times the value in size, the sooner the larger: at step
  round((1 - |value| / scale) (T - 1)), counted from 0.

Values beyond `scale` count as it in the last two.
"""

from __future__ import annotations

import torch
from torch import nn

CODINGS = ("constant", "rate", "latency")


class Constant(nn.Module):
    """The same at each of T steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> [T, B, ...]."""
        return x.unsqueeze(0).expand(self.steps, *x.shape)


class Rate(nn.Module):
    """Seeded Bernoulli spikes. Buffers: `draws` [T, 1, ...] uniform in 0..scale, and `scale` []."""

    draws: torch.Tensor
    scale: torch.Tensor

    def __init__(self, steps: int, shape: tuple[int, ...], scale: float, seed: int) -> None:
        """`shape`: of one input, without the batch."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.seed = seed
        self.register_buffer("draws", torch.rand(steps, 1, *shape, generator=generator) * scale)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> [T, B, ...]."""
        spikes = x.abs().unsqueeze(0) > self.draws
        return spikes.to(x.dtype) * (x.sign() * self.scale).unsqueeze(0)


class Latency(nn.Module):
    """One graded spike for each value. Buffers: `moments` [T, 1, ...] numbers of steps, `scale`, `slope`."""

    moments: torch.Tensor
    scale: torch.Tensor
    slope: torch.Tensor

    def __init__(self, steps: int, shape: tuple[int, ...], scale: float) -> None:
        """`shape`: of one input, without the batch."""
        super().__init__()
        self.steps = steps
        moments = torch.arange(steps, dtype=torch.float32)
        self.register_buffer("moments", moments.reshape(steps, 1, *(1 for _ in shape)))
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("slope", torch.tensor((steps - 1) / scale))  # steps sooner for each unit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> [T, B, ...]."""
        clipped = x.clamp(-self.scale, self.scale)
        when = (self.steps - 1 - clipped.abs() * self.slope).round()
        return (when.unsqueeze(0) == self.moments).to(x.dtype) * (clipped * self.steps).unsqueeze(0)


def encoder(coding: str, steps: int, shape: tuple[int, ...], scale: float, seed: int) -> nn.Module:
    """What codes inputs of `shape`, without the batch, whose largest absolute value is `scale`."""
    if coding == "rate":
        return Rate(steps, shape, scale, seed)
    if coding == "latency":
        return Latency(steps, shape, scale)
    if coding != "constant":
        raise ValueError(f"coding: {coding!r}, expected one of {', '.join(CODINGS)}")
    return Constant(steps)
