"""Integrate-and-fire neurons: the operator that backends lower by its name, `paring::integrate_fire`, and its
module.

Each step t: v += x_t; s_t = 1 where v >= threshold (equality fires), else 0; then v -= threshold * s_t (soft
reset) or v = reset_to where it fired (hard reset). v starts at `initial`. Rueckauer et al. 2017,
https://doi.org/10.3389/fnins.2017.00682, Eq. 1 to 4; there is no leak. With a constant current a and soft
reset the rate after T steps is min(1, max(0, floor((T a + initial) / threshold)) / T), so that an initial
membrane of half a threshold turns floor into rounding.
"""

from __future__ import annotations

import torch
from torch import nn

RESETS = ("soft", "hard")


@torch.library.custom_op("paring::integrate_fire", mutates_args=())
def integrate_fire(
    current: torch.Tensor, threshold: torch.Tensor, initial: torch.Tensor, hard: bool, reset_to: float
) -> torch.Tensor:
    """Spikes 0 or 1, [T, B, C, ...], in the dtype of the current, of neurons that start afresh.

    Args:
        current: [T, B, C, ...], floating: what comes in at each step, in the threshold's unit.
        threshold: above 0; [] or what broadcasts against [B, C, ...].
        initial: the membrane before the first step, of such a shape too.
        hard: hard reset; soft otherwise.
        reset_to: the membrane after a spike, with hard reset.
    """
    membrane = initial.to(current.dtype).expand_as(current[0])
    spikes = torch.empty_like(current)
    for step, arriving in enumerate(current):
        spikes[step], membrane = fire(membrane, arriving, threshold, hard, reset_to)
    return spikes


@integrate_fire.register_fake
def _(
    current: torch.Tensor, threshold: torch.Tensor, initial: torch.Tensor, hard: bool, reset_to: float
) -> torch.Tensor:
    return torch.empty_like(current)


def fire(
    membrane: torch.Tensor, current: torch.Tensor, threshold: torch.Tensor, hard: bool, reset_to: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step: the spikes, and the membrane after them. Both have the shape of `current` [B, C, ...]."""
    membrane = membrane + current
    fired = membrane >= threshold
    if hard:
        return fired.to(current.dtype), torch.where(fired, reset_to, membrane)
    return fired.to(current.dtype), torch.where(fired, membrane - threshold, membrane)


class IntegrateFire(nn.Module):
    """A layer of integrate-and-fire neurons over a sequence that is merged with the batch, time first.

    Attributes:
        threshold, initial: buffers, [] or [C, 1, 1] or [C]; see `integrate_fire`.
        reset: "soft" or "hard".
        reset_to: the membrane after a spike, with hard reset.
        steps: T.
    """

    threshold: torch.Tensor
    initial: torch.Tensor

    def __init__(
        self,
        threshold: torch.Tensor,
        initial: torch.Tensor,
        steps: int,
        reset: str = "soft",
        reset_to: float = 0.0,
    ) -> None:
        """Raises ValueError for what no neuron has."""
        super().__init__()
        if reset not in RESETS:
            raise ValueError(f"reset: {reset!r}, expected one of {', '.join(RESETS)}")
        if steps < 1:
            raise ValueError(f"steps: {steps}, expected at least 1")
        if not bool((threshold > 0).all()) or not bool(threshold.isfinite().all()):
            raise ValueError(f"threshold: {threshold.min().item():g} is among them, expected finite, above 0")
        self.register_buffer("threshold", threshold.detach().clone())
        self.register_buffer("initial", initial.detach().clone())
        self.steps, self.reset, self.reset_to = steps, reset, reset_to

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """[T * B, C, ...] -> spikes of the same shape."""
        steps = current.unflatten(0, (self.steps, -1))
        hard = self.reset == "hard"
        return integrate_fire(steps, self.threshold, self.initial, hard, self.reset_to).flatten(0, 1)

    def step(
        self, current: torch.Tensor, membrane: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step [B, C, ...]: the spikes and the membrane after them; without one it starts afresh."""
        if membrane is None:
            membrane = self.initial.to(current.dtype).expand_as(current)
        return fire(membrane, current, self.threshold, self.reset == "hard", self.reset_to)

    def extra_repr(self) -> str:
        """What `print` shows."""
        low, high = self.threshold.min().item(), self.threshold.max().item()
        return f"threshold={low:.4g}..{high:.4g}, steps={self.steps}, reset={self.reset}"
