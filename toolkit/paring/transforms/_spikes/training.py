"""Training towards few steps: rates in the place of neurons, whose thresholds are learned with the weights.

- even: quantise, clip, floor, shift (Bu et al. 2022, https://arxiv.org/abs/2303.04347). The rate of a neuron
  is what it would be with a constant current x and L steps,

      rate(x) = clip(floor(L x / th + 1/2) / L, 0, 1);

  with T = L steps the neurons' rates are those that were trained, as far as currents are even over the
  steps. They are not quite, so that biases are compensated for T then.
- fired: the neurons run for T steps, and their rates are those that they fired, uneven currents and all; what
  is trained is what runs. No gradient goes through the steps: all between two layers of neurons is linear, so
  that rates alone say what follows (Yu et al. 2024, https://arxiv.org/abs/2410.11488).

Gradients see clip(x / th, 0, 1) in either. Frozen, membranes start at half a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node

from .compensation import compensated
from .folding import module_of
from .lifting import put
from .network import SpikingNetwork
from .neuron import IntegrateFire, integrate_fire

TRAININGS = ("even", "fired")
LEAST = 1e-4  # a threshold never goes below


class TrainableRate(nn.Module):
    """A layer of neurons as it is trained: mean currents x [B, C, ...] -> rates 0..1.

    The parameter `ceiling` is the threshold, flat, so that no weight decay touches it.
    """

    def __init__(self, neurons: IntegrateFire, levels: int) -> None:
        super().__init__()
        self.levels, self.steps = levels, neurons.steps
        self.reset, self.reset_to = neurons.reset, neurons.reset_to
        self.shape = tuple(neurons.threshold.shape)
        self.ceiling = nn.Parameter(neurons.threshold.detach().flatten().clone())

    @property
    def threshold(self) -> torch.Tensor:
        """In the neurons' shape, above 0."""
        return self.ceiling.clamp_min(LEAST).reshape(self.shape)

    def forward(self, x: torch.Tensor, fired: torch.Tensor | None = None) -> torch.Tensor:
        """[B, C, ...] -> the same shape: quantised, or the rates that were `fired`."""
        share = (x / self.threshold).clamp(0, 1)
        rates = torch.floor(share * self.levels + 0.5) / self.levels if fired is None else fired
        return share + (rates - share).detach()

    def spikes(self, current: torch.Tensor) -> torch.Tensor:
        """[T * B, C, ...], time first -> the neurons' spikes, of the same shape."""
        steps, threshold = current.unflatten(0, (self.steps, -1)), self.threshold
        hard = self.reset == "hard"
        return integrate_fire(steps, threshold, threshold / 2, hard, self.reset_to).flatten(0, 1)

    def freeze(self) -> IntegrateFire:
        """The neurons."""
        threshold = self.threshold.detach()
        return IntegrateFire(threshold, threshold / 2, self.steps, self.reset, self.reset_to)


class TrainableNetwork(nn.Module):
    """A spiking network as it is trained, x [B, ...] -> [B, classes].

    Attributes:
        body: as `SpikingNetwork`'s, with rates in the place of neurons.
        training_of: one of `TRAININGS`.
    """

    def __init__(self, network: SpikingNetwork, levels: int, training_of: str = "even") -> None:
        super().__init__()
        self.body: GraphModule = network.body
        self.encoder, self.steps, self.coding = network.encoder, network.steps, network.coding
        self.input_shape, self.levels, self.training_of = network.input_shape, levels, training_of
        self.wanted, self.images = network.wanted, network.images
        for name, neurons in network.neurons().items():
            put(self.body, name, TrainableRate(neurons, levels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> [B, classes]."""
        return self._answers(x)[0]

    def _answers(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """[B, classes], and the layers' rates by their names, [B, C, ...] each."""
        if self.training_of == "even":
            running = _Rates(self.body, {})
            return running.run(x), running.rates
        with torch.no_grad():
            currents = self.encoder(x)
            firing = _Firing(self.body, self.steps)
            firing.run(currents.flatten(0, 1))
        running = _Rates(self.body, firing.rates)
        return running.run(currents.mean(0)), running.rates

    def freeze(self) -> SpikingNetwork:
        """The spiking network. Its body is this one's.

        Biases are compensated where that is wanted, and the rates that were trained are not those that fire.
        """
        compensate = self.wanted is not None and self.wanted.compensate and self.training_of == "even"
        means = self.means(self.images) if compensate else {}
        for name, rates in self.layers().items():
            put(self.body, name, rates.freeze())
        shape, training = self.input_shape, self.training
        network = SpikingNetwork(self.body, self.encoder, self.steps, self.coding, shape, self.levels)
        network.wanted, network.images = self.wanted, self.images
        if compensate:
            compensated(network, means, self.images)
        return network.train(training)

    def layers(self) -> dict[str, TrainableRate]:
        """What stands for neurons, by its name."""
        named = self.body.named_modules()
        return {name: module for name, module in named if isinstance(module, TrainableRate)}

    @torch.no_grad()
    def means(self, batches: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """[C] of each layer's activations, and of the answers as `output`, over images and positions."""
        found: dict[str, list[torch.Tensor]] = {}
        layers = self.layers()
        for batch in batches:
            answers, rates = self._answers(batch)
            values = {name: rate * layers[name].threshold for name, rate in rates.items()}
            for name, value in {**values, "output": answers}.items():
                found.setdefault(name, []).append(value.movedim(1, 0).flatten(1))
        return {name: torch.cat(values, 1).mean(1) for name, values in found.items()}


class _Rates(Interpreter):
    """Runs a body on one value in place of T, and keeps the rates; `fired` holds those that are given."""

    def __init__(self, body: GraphModule, fired: dict[str, torch.Tensor]) -> None:
        super().__init__(body)
        self.body, self.fired, self.rates = body, fired, dict[str, torch.Tensor]()

    def run_node(self, n: Node) -> Any:
        """As any interpreter, but a layer of neurons takes what it fired."""
        layer, name = module_of(self.body, n), str(n.target)
        if not isinstance(layer, TrainableRate):
            return super().run_node(n)
        (current,), _ = self.fetch_args_kwargs_from_env(n)
        self.rates[name] = layer(current, self.fired.get(name))
        return self.rates[name]


class _Firing(Interpreter):
    """Runs a body over all steps at once, and keeps the rates that fired, [B, C, ...] each."""

    def __init__(self, body: GraphModule, steps: int) -> None:
        super().__init__(body)
        self.body, self.steps, self.rates = body, steps, dict[str, torch.Tensor]()

    def run_node(self, n: Node) -> Any:
        """As any interpreter, but rates spike."""
        layer = module_of(self.body, n)
        if not isinstance(layer, TrainableRate):
            return super().run_node(n)
        (current,), _ = self.fetch_args_kwargs_from_env(n)
        spikes = layer.spikes(current)
        self.rates[str(n.target)] = spikes.unflatten(0, (self.steps, -1)).mean(0)
        return spikes


def trainable(model: nn.Module) -> nn.Module:
    """Every `SpikingNetwork` in the form that is trained. The model given is changed and returned."""

    def made(network: SpikingNetwork) -> TrainableNetwork:
        training_of = "even" if network.wanted is None else network.wanted.training
        return TrainableNetwork(network, network.levels, training_of)

    return _exchanged(model, SpikingNetwork, made)


def frozen(model: nn.Module) -> nn.Module:
    """Neurons again. The model given is changed and returned."""
    return _exchanged(model, TrainableNetwork, lambda network: network.freeze())


def _exchanged(model: nn.Module, kind: type[nn.Module], made: Any) -> nn.Module:
    if isinstance(model, kind):
        return made(model)
    for name, child in list(model.named_children()):
        setattr(model, name, _exchanged(child, kind, made))
    return model
