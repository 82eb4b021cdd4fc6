"""Training towards few steps: quantise, clip, floor, shift. Bu et al. 2022, https://arxiv.org/abs/2303.04347

In the place of each layer of neurons stands what its rate would be with a constant current and L steps,

    rate(x) = clip(floor(L x / th + 1/2) / L, 0, 1),

whose threshold th is learned; gradients pass the floor as if it were not there. Frozen, the thresholds are
the neurons' and membranes start at half of them: with T = L steps the rates are those that were trained, as
far as currents are even over the steps. They are not quite, so that biases are compensated for T then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from .compensation import compensated
from .lifting import put
from .network import SpikingNetwork
from .neuron import IntegrateFire

LEAST = 1e-4  # a threshold never goes below


class QuantisedRate(nn.Module):
    """A layer of neurons as it is trained: x [B, C, ...] -> rates 0..1 in steps of 1 / L.

    The parameter `ceiling` is the threshold, flat, so that no weight decay touches it.
    """

    def __init__(self, neurons: IntegrateFire, levels: int) -> None:
        super().__init__()
        self.levels, self.steps, self.reset = levels, neurons.steps, neurons.reset
        self.shape = tuple(neurons.threshold.shape)
        self.ceiling = nn.Parameter(neurons.threshold.detach().flatten().clone())

    @property
    def threshold(self) -> torch.Tensor:
        """In the neurons' shape, above 0."""
        return self.ceiling.clamp_min(LEAST).reshape(self.shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, ...] -> the same shape."""
        share = (x / self.threshold).clamp(0, 1) * self.levels
        floored = torch.floor(share + 0.5)
        return (share + (floored - share).detach()) / self.levels

    def freeze(self) -> IntegrateFire:
        """The neurons."""
        threshold = self.threshold.detach()
        return IntegrateFire(threshold, threshold / 2, self.steps, self.reset)


class QuantisedNetwork(nn.Module):
    """A spiking network as it is trained, x [B, ...] -> [B, classes], one pass in place of T steps."""

    def __init__(self, network: SpikingNetwork, levels: int) -> None:
        super().__init__()
        self.body: GraphModule = network.body
        self.encoder, self.steps, self.coding = network.encoder, network.steps, network.coding
        self.input_shape, self.levels = network.input_shape, levels
        self.wanted, self.images = network.wanted, network.images
        for name, neurons in network.neurons().items():
            put(self.body, name, QuantisedRate(neurons, levels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> [B, classes]."""
        answers: torch.Tensor = self.body(x)
        return answers

    def freeze(self) -> SpikingNetwork:
        """The spiking network, its biases compensated where that is wanted. Its body is this one's."""
        compensate = self.wanted is not None and self.wanted.compensate
        means = self.means(self.images) if compensate else {}
        for name, rates in self.rates().items():
            put(self.body, name, rates.freeze())
        shape, training = self.input_shape, self.training
        network = SpikingNetwork(self.body, self.encoder, self.steps, self.coding, shape, self.levels)
        network.wanted, network.images = self.wanted, self.images
        if compensate:
            compensated(network, means, self.images)
        return network.train(training)

    def rates(self) -> dict[str, QuantisedRate]:
        """What stands for neurons, by its name."""
        named = self.body.named_modules()
        return {name: module for name, module in named if isinstance(module, QuantisedRate)}

    @torch.no_grad()
    def means(self, batches: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """[C] of each layer's activations, and of the answers as `output`, over images and positions."""
        found: dict[str, list[torch.Tensor]] = {}

        def keep(name: str, value: torch.Tensor) -> None:
            found.setdefault(name, []).append(value.movedim(1, 0).flatten(1))

        with ExitStack() as stack:
            for name, rates in self.rates().items():

                def hook(module: nn.Module, inputs: Any, value: torch.Tensor, name: str = name) -> None:
                    assert isinstance(module, QuantisedRate)
                    keep(name, value * module.threshold)

                stack.callback(rates.register_forward_hook(hook).remove)
            for batch in batches:
                keep("output", self.body(batch))
        return {name: torch.cat(values, 1).mean(1) for name, values in found.items()}


def trainable(model: nn.Module) -> nn.Module:
    """Every `SpikingNetwork` in the form that is trained. The model given is changed and returned."""
    return _exchanged(model, SpikingNetwork, lambda network: QuantisedNetwork(network, network.levels))


def frozen(model: nn.Module) -> nn.Module:
    """Neurons again. The model given is changed and returned."""
    return _exchanged(model, QuantisedNetwork, lambda network: network.freeze())


def _exchanged(model: nn.Module, kind: type[nn.Module], made: Any) -> nn.Module:
    if isinstance(model, kind):
        return made(model)
    for name, child in list(model.named_children()):
        setattr(model, name, _exchanged(child, kind, made))
    return model
