"""What a spiking transformer does for an image, counted on the tensors that its operations are given.

- A synaptic operation is one spike over one existing connection: a weight that is not zero, or in a product
  of two spike trains a sum of the other side's spikes that is not zero at that step.
- Weights that read anything but spikes (-1, 0, 1, tested on every value) multiply at every step: MACs.
- Functions (softmax, layer norm, GELU) are computed for rows in which something came; values are counted.

The embedding before the blocks, and the norm and head after them, run once, as in the quantised form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from .neuron import Neurons
from .settling import Watching
from .time import Function, Unit
from .trunk import SpikingTrunk, find


@dataclass
class Work:
    """Of one operation over T steps, for one image on average.

    Attributes:
        synops: synaptic operations.
        macs: multiplications, where the input is no spikes.
        function_values: computed of a softmax, layer norm or activation.
        dense_macs: of the same operation in the quantised form, which runs once.
    """

    synops: float = 0.0
    macs: float = 0.0
    function_values: float = 0.0
    dense_macs: float = 0.0


@dataclass
class Ledger:
    """Of the blocks of a spiking transformer; work and spikes are for one image on average.

    Attributes:
        layers: operations by their paths below the stack of blocks, in the order in which they run.
        spikes: of neurons over T steps, by their paths.
        neurons: how many there are, by their paths.
        steps: T.
        images: how many were counted.
        last: of each image the last step at which any neuron fired, from 1; 0 where none did.
    """

    steps: int
    images: int
    layers: dict[str, Work] = field(default_factory=dict)
    spikes: dict[str, float] = field(default_factory=dict)
    neurons: dict[str, int] = field(default_factory=dict)
    last: list[int] = field(default_factory=list)

    def total(self, name: str) -> float:
        """The sum over all layers of one of `Work`'s fields."""
        return sum(float(getattr(work, name)) for work in self.layers.values())

    @property
    def rate(self) -> float:
        """Spikes for each neuron and step."""
        return sum(self.spikes.values()) / (self.steps * max(1, sum(self.neurons.values())))

    @property
    def verdict(self) -> str:
        """Whether spikes save operations, in a sentence."""
        ratio = self.total("synops") / max(1.0, self.total("dense_macs"))
        cost = f"{ratio:.2f} synaptic operations at T = {self.steps} for each MAC of the quantised network"
        if ratio > 1:
            return f"{cost}: spikes cost more operations than they save, additions though they are"
        return f"{cost}, which it takes once: spikes save operations"


class Counting(Watching):
    """Steps whose operations are counted into `ledger`."""

    def __init__(self, steps: int, paths: Mapping[nn.Module, str], images: int) -> None:
        super().__init__(steps)
        self.paths, self.ledger = paths, Ledger(steps, images)

    def function(self, place: nn.Module, f: Function, x: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        rows = float((x != 0).any(-1).sum())
        self._work(place).function_values += rows * x.shape[-1] / self.ledger.images
        return super().function(place, f, x)

    def weights(self, layer: nn.Linear, x: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        work, exists = self._work(layer), (layer.weight != 0).sum(0).double()  # [K] connections of an input
        rows = x[0].numel() // x.shape[-1]
        work.dense_macs += float(exists.sum()) * rows
        if _ternary(x):
            used = (x != 0).flatten(0, -2).sum(0).double()
            work.synops += float((used * exists).sum()) / self.ledger.images
        else:
            work.macs += float(exists.sum()) * rows * len(x) / self.ledger.images
        return super().weights(layer, x, unit)

    def product(self, place: nn.Module, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """See `Time`."""
        work = self._work(place)
        work.dense_macs += a[0].numel() * b.shape[-1]
        if _ternary(a) and _ternary(b):
            met = _met(self.sums(a), b) + _met(a, self.sums(b) - b)
            work.synops += met / self.ledger.images
        else:
            work.macs += 2.0 * a.numel() * b.shape[-1] / self.ledger.images
        return super().product(place, a, b)

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """See `Time`."""
        spikes, name = super().fire(neurons, x, unit), self.paths[neurons]
        self.ledger.spikes[name] = float((spikes != 0).sum()) / self.ledger.images
        self.ledger.neurons[name] = spikes[0].numel()
        return spikes

    def _work(self, place: nn.Module) -> Work:
        return self.ledger.layers.setdefault(self.paths[place], Work())


def _ternary(x: torch.Tensor) -> bool:
    return bool(((x == 0) | (x.abs() == 1)).all())


def _met(a: torch.Tensor, b: torch.Tensor) -> float:
    """How many pairs of values that are both not zero meet in a @ b."""
    columns, rows = (a != 0).sum(-2).double(), (b != 0).sum(-1).double()  # [..., D] both
    return float((columns * rows).sum())


@torch.inference_mode()
def counted(model: nn.Module, images: torch.Tensor, each: bool = False) -> tuple[Ledger, torch.Tensor]:
    """Run a model with a `SpikingTrunk` on images [B, ...] and count.

    Returns:
        The ledger, and the answers; with `each` those after every step, [T, B, classes].
    """
    trunk = find(model)
    if not isinstance(trunk, SpikingTrunk):
        raise ValueError(f"{type(model).__name__} is no spiking transformer; spike_transformer makes one")
    paths = {module: name for name, module in trunk.named_modules()}
    counting = Counting(trunk.steps, paths, len(images))
    with trunk.running(counting, each):
        answers: torch.Tensor = model(images)
    counting.ledger.last = counting.last()
    return counting.ledger, answers.unflatten(0, (trunk.steps, -1)) if each else answers


def merged(parts: list[Ledger]) -> Ledger:
    """One ledger of several over the same network, each weighted by its images."""
    images = sum(part.images for part in parts)
    whole = Ledger(parts[0].steps, images, neurons=dict(parts[0].neurons))
    for part in parts:
        share = part.images / images
        for name, work in part.layers.items():
            kept = whole.layers.setdefault(name, Work(dense_macs=work.dense_macs))
            kept.synops += share * work.synops
            kept.macs += share * work.macs
            kept.function_values += share * work.function_values
        for name, count in part.spikes.items():
            whole.spikes[name] = whole.spikes.get(name, 0.0) + share * count
        whole.last += part.last
    return whole
