"""When a spiking transformer falls silent, and whether its neurons end at their quantisers' codes."""

from __future__ import annotations

import torch
from torch import nn

from .neuron import Neurons
from .time import OnePass, Steps, Unit
from .trunk import SpikingTrunk, find


class Watching(Steps):
    """Steps that keep at which of them any neuron fired, [T, B]."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.fired: torch.Tensor | None = None

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """See `Time`."""
        spikes = super().fire(neurons, x, unit)
        any_fired = spikes.flatten(1).any(1).unflatten(0, (self.steps, -1))
        self.fired = any_fired if self.fired is None else self.fired | any_fired
        return spikes

    def last(self) -> list[int]:
        """The last step at which a neuron fired, for each image of one run, from 1; 0 where none did."""
        assert self.fired is not None
        steps = torch.arange(1, self.steps + 1, device=self.fired.device)[:, None]
        return [int(step) for step in (steps * self.fired).amax(0)]


@torch.inference_mode()
def last_spikes(model: nn.Module, pixels: torch.Tensor, steps: int) -> list[int]:
    """The last step with a spike, for each image, where the spiking transformer runs over `steps` steps."""
    trunk, watching = find(model), Watching(steps)
    assert isinstance(trunk, SpikingTrunk)
    own, trunk.steps = trunk.steps, steps
    try:
        with trunk.running(watching):
            model(pixels)
    finally:
        trunk.steps = own
    return watching.last()


class _Codes(OnePass):
    """One pass that keeps every layer's codes."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """See `Time`."""
        self.kept.append(super().fire(neurons, x, unit))
        return self.kept[-1]


class _Tracers(Steps):
    """Steps that keep every layer's tracer after the last."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.kept: list[torch.Tensor] = []

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """See `Time`."""
        spikes = super().fire(neurons, x, unit)
        self.kept.append(spikes.unflatten(0, (self.steps, -1)).sum(0))
        return spikes


@torch.inference_mode()
def elsewhere(trunk: SpikingTrunk, x: torch.Tensor) -> tuple[int, int]:
    """How many neurons do not end at their quantiser's code, and how many there are.

    Args:
        trunk: in the dtype of x; sums round to the other side of a threshold in float32, hardly in float64.
        x: tokens [B, N, C] that enter it.
    """
    codes, tracers = _Codes(), _Tracers(trunk.steps)
    trunk.over(x, codes)
    trunk.over(tracers.entering(x), tracers)
    pairs = list(zip(codes.kept, tracers.kept, strict=True))
    return sum(int((code != held).sum()) for code, held in pairs), sum(code.numel() for code, _ in pairs)
