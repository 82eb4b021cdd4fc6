"""ST-BIF neurons, bipolar integrate-and-fire with a spike tracer, and the quantiser that they equal.

SpikeZIP-TF, https://arxiv.org/abs/2406.03470. Membrane v in thresholds, tracer S, current x_t:

    v += x_t / threshold
    s_t = 1 where v >= 1 and S < highest;  -1 where v < 0 and S > lowest;  else 0
    v -= s_t;  S += s_t

with v = 1/2 and S = 0 before the first step. Nothing is lost: v = (x_1 + ... + x_t) / threshold + 1/2 - S. So
a neuron that fires no more holds S = clip(floor(x / threshold + 1/2), lowest, highest) of the sum x of all
that came, whatever the order in which it came: the code of a quantiser with that threshold as its step.
"""

from __future__ import annotations

import torch
from torch import nn

LEAST = 1e-8  # a threshold never lies below


@torch.library.custom_op("paring::bipolar_fire", mutates_args=())
def bipolar_fire(
    current: torch.Tensor, gain: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor
) -> torch.Tensor:
    """Spikes -1, 0 or 1, [T, B, ...], in the dtype of the current, of neurons that start afresh.

    Args:
        current: [T, B, ...], floating: what comes in at each step.
        gain: [], above 0: one over the threshold.
        lowest, highest: [], whole numbers: the tracer's bounds, at most 0 and at least 1.
    """
    spikes = torch.empty_like(current)
    membrane = torch.full_like(current[0], 0.5)
    up, down = torch.full_like(membrane, float(highest)), torch.full_like(membrane, float(lowest))
    for arriving, fired in zip(current, spikes, strict=True):
        membrane.addcmul_(arriving, gain.to(arriving.dtype))
        torch.floor(membrane, out=fired)
        fired.clamp_(-1, 1)
        torch.clamp(fired, down, up, out=fired)  # what the tracer's bounds leave
        for kept in (membrane, up, down):
            kept.sub_(fired)
    return spikes


@bipolar_fire.register_fake
def _(current: torch.Tensor, gain: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(current)


class Neurons(nn.Module):
    """A layer of ST-BIF neurons, or the quantiser that stands for it.

    Attributes:
        log_threshold: [], the natural logarithm: a training step then changes large and small thresholds by
            the same share, and none becomes negative.
        lowest, highest: buffers [], the tracer's bounds.
    """

    lowest: torch.Tensor
    highest: torch.Tensor

    def __init__(self, levels: int) -> None:
        """`levels`: how many codes there are."""
        super().__init__()
        self.levels = levels
        self.log_threshold = nn.Parameter(torch.zeros(()))
        self.register_buffer("lowest", torch.tensor(float(-(levels // 2))))
        self.register_buffer("highest", torch.tensor(float(levels - levels // 2 - 1)))

    @property
    def threshold(self) -> torch.Tensor:
        """[], above 0: what one spike stands for."""
        return self.log_threshold.exp().clamp_min(LEAST)

    @torch.no_grad()
    def set(self, threshold: torch.Tensor, lowest: int) -> None:
        """Take a threshold [] and the lowest code; the number of codes stays."""
        self.log_threshold.copy_(threshold.clamp_min(LEAST).log())
        self.lowest.fill_(lowest)
        self.highest.fill_(lowest + self.levels - 1)

    def codes(self, x: torch.Tensor, unit: torch.Tensor | float = 1.0) -> torch.Tensor:
        """Whole numbers, the codes of unit * x; gradients pass the rounding (LSQ, arXiv 1902.08153)."""
        wanted = (x * (unit / self.threshold)).clamp(self.lowest, self.highest)
        rounded = torch.floor(wanted + 0.5).clamp(self.lowest, self.highest)
        return wanted + (rounded - wanted).detach() if wanted.requires_grad else rounded

    def spikes(self, current: torch.Tensor, steps: int, unit: torch.Tensor | float = 1.0) -> torch.Tensor:
        """[T * B, ...], time first -> spikes of that shape, of currents unit * current."""
        gain = torch.as_tensor(unit / self.threshold)
        return bipolar_fire(current.unflatten(0, (steps, -1)), gain, self.lowest, self.highest).flatten(0, 1)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"threshold={self.threshold.item():.4g}, codes={self.lowest.item():g}..{self.highest.item():g}"
