"""A spiking network with the spikes of another implementation where its own hung by next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from .bipolar import Neurons, SpikingTrunk, find
from .bipolar.adopting import Adopting
from .neuron import IntegrateFire


def firing_layers(model: nn.Module) -> list[IntegrateFire | Neurons]:
    """Every layer of neurons of a model that fires."""
    trunk = find(model)
    if isinstance(trunk, SpikingTrunk):
        return list(trunk.neurons().values())
    return [module for module in model.modules() if isinstance(module, IntegrateFire)]


@contextmanager
def adopting_spikes(model: nn.Module, others: Sequence[torch.Tensor], margin: float) -> Iterator[None]:
    """Inside, one forward pass takes the spikes of `others` where a membrane is within `margin` of firing.

    Two correct implementations sum in another order, so that a membrane within rounding of its threshold may
    fire a step sooner or later. What lies beyond `margin` stays the model's own, and shows as a difference.

    Args:
        model: whose layers of neurons run in the order of `others`.
        others: [T, B, C, ...], one a layer.
        margin: in thresholds.
    """
    trunk = find(model)
    if isinstance(trunk, SpikingTrunk):
        with trunk.running(Adopting(trunk.steps, others, margin)):
            yield
        return
    waiting = list(others)

    def adopt(module: nn.Module, inputs: tuple[Any, ...], spikes: torch.Tensor) -> torch.Tensor:
        assert isinstance(module, IntegrateFire)
        return adopted(module, inputs[0], waiting.pop(0), margin)

    with ExitStack() as stack:
        for layer in firing_layers(model):
            stack.callback(layer.register_forward_hook(adopt).remove)
        yield
    if waiting:
        raise ValueError(f"{len(waiting)} of {len(others)} layers' spikes were not asked for")


def adopted(layer: IntegrateFire, current: torch.Tensor, others: torch.Tensor, margin: float) -> torch.Tensor:
    """The layer's spikes [T * B, C, ...], and those of `others` [T, B, C, ...] where it is undecided."""
    steps = current.unflatten(0, (layer.steps, -1))
    membrane, found = layer.initial.expand_as(steps[0]), []
    for arriving, other in zip(steps, others, strict=True):
        membrane = membrane + arriving
        near = (membrane - layer.threshold).abs() < margin * layer.threshold
        fired = torch.where(near, other > 0, membrane >= layer.threshold)
        left = layer.reset_to if layer.reset == "hard" else membrane - layer.threshold
        membrane = torch.where(fired, left, membrane)
        found.append(fired.to(current.dtype))
    return torch.stack(found).flatten(0, 1)
