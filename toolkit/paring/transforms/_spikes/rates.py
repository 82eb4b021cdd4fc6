"""The rate of an integrate-and-fire neuron with a constant current, in closed form.

Over T steps, threshold th and initial membrane v0 (Rueckauer et al. 2017,
https://doi.org/10.3389/fnins.2017.00682):

- soft reset: clip(floor((T a + v0) / th), 0, T) / T;
- hard reset to r: the first spike after ceil((th - v0) / a) steps, then one every ceil((th - r) / a).
"""

from __future__ import annotations

import torch


def constant_rate(
    current: torch.Tensor,
    threshold: torch.Tensor,
    initial: torch.Tensor,
    steps: int,
    hard: bool = False,
    reset_to: float = 0.0,
) -> torch.Tensor:
    """Spikes for each step, 0 to 1, in the shape that the three broadcast to."""
    if not hard:
        spikes = torch.floor((steps * current + initial) / threshold)
        return spikes.clamp(0, steps) / steps
    positive = current.clamp_min(torch.finfo(current.dtype).tiny)
    first = torch.ceil((threshold - initial) / positive).clamp_min(1)
    every = torch.ceil((threshold - reset_to) / positive).clamp_min(1)
    spikes = 1 + torch.floor((steps - first) / every)
    return torch.where((current > 0) & (first <= steps), spikes / steps, 0.0)
