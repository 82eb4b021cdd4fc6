"""Training towards few steps: quantise, clip, floor, shift. Bu et al. 2022, https://arxiv.org/abs/2303.04347

In the place of each layer of neurons stands what its rate would be with a constant current and L steps,

    rate(x) = clip(floor(L x / th + 1/2) / L, 0, 1),

whose threshold th is learned; gradients pass the floor as if it were not there. Frozen, the thresholds are
the neurons' and membranes start at half of them: with T = L steps the rates are those that were trained, as
far as currents are even over the steps; other T do too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

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
        self.input_shape, self.levels, self.wanted = network.input_shape, levels, network.wanted
        for name, neurons in network.neurons().items():
            put(self.body, name, QuantisedRate(neurons, levels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> [B, classes]."""
        answers: torch.Tensor = self.body(x)
        return answers

    def freeze(self) -> SpikingNetwork:
        """The spiking network. Its body is this one's."""
        rates = [(name, one) for name, one in self.body.named_modules() if isinstance(one, QuantisedRate)]
        for name, one in rates:
            put(self.body, name, one.freeze())
        shape, training = self.input_shape, self.training
        network = SpikingNetwork(self.body, self.encoder, self.steps, self.coding, shape, self.levels)
        network.wanted = self.wanted
        return network.train(training)


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
