"""Steps that take another implementation's spikes where a membrane hung by next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .neuron import Neurons
from .time import Steps, Unit


class Adopting(Steps):
    """Steps that take the spikes of `others` where a membrane is within `margin` thresholds of firing."""

    def __init__(self, steps: int, others: Sequence[torch.Tensor], margin: float) -> None:
        """`others`: [T, B, ...], one a layer of neurons in the order in which they run."""
        super().__init__(steps)
        self.waiting, self.margin = list(others), margin

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """See `Time`."""
        currents, others = x.unflatten(0, (self.steps, -1)), self.waiting.pop(0)
        gain = unit / neurons.threshold
        membrane, tracer = torch.full_like(currents[0], 0.5), torch.zeros_like(currents[0])
        found = []
        for arriving, other in zip(currents, others, strict=True):
            membrane = membrane + arriving * gain
            near = (membrane.abs() < self.margin) | ((membrane - 1).abs() < self.margin)
            fired = torch.where(near, other, membrane.floor().clamp(-1, 1))
            fired = fired.clamp(neurons.lowest - tracer, neurons.highest - tracer)
            membrane, tracer = membrane - fired, tracer + fired
            found.append(fired)
        return torch.stack(found).flatten(0, 1)
