"""What a spiking network does for an image: spikes, and the synaptic operations that they cause.

A synaptic operation is one value that is not zero over one connection whose weight is not zero, where the
value is a spike or an average of spikes. Weights that read real numbers (the image as a current, sums of
currents) multiply at every step; those operations are counted apart, as MACs.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Interpreter, Node

from .layers import POOLS, WEIGHTED, Scale, Weighted, like
from .network import SpikingNetwork
from .neuron import IntegrateFire


@dataclass(frozen=True)
class Work:
    """Of one layer of weights, over T steps, for one image on average.

    Attributes:
        synops: synaptic operations; 0 where the input is real.
        macs: multiplications with real inputs; 0 where the input is spikes.
        connections: of the layer: weights that are not zero, times the places where each is used.
    """

    synops: float
    macs: float
    connections: int


@dataclass(frozen=True)
class Counted:
    """Of a whole network; all for one image, on average.

    Attributes:
        layers: of weights, by their names.
        spikes: of neurons over T steps, by their names.
        neurons: how many there are, by their names.
        steps: T.
    """

    layers: dict[str, Work]
    spikes: dict[str, float]
    neurons: dict[str, int]
    steps: int

    @property
    def synops(self) -> float:
        """Of all layers."""
        return sum(work.synops for work in self.layers.values())

    @property
    def macs(self) -> float:
        """Of all layers."""
        return sum(work.macs for work in self.layers.values())

    @property
    def rate(self) -> float:
        """Spikes for each neuron and step."""
        return sum(self.spikes.values()) / (self.steps * max(1, sum(self.neurons.values())))


@torch.inference_mode()
def counted(network: SpikingNetwork, images: torch.Tensor) -> Counted:
    """Run `network` on images [B, ...] and count."""
    counting = _Counting(network, len(images))
    counting.run(network.encoder(images).flatten(0, 1))
    return Counted(counting.layers, counting.spikes, counting.neurons, network.steps)


class _Counting(Interpreter):
    """Runs a body over all steps at once; knows of each value whether it is spikes."""

    def __init__(self, network: SpikingNetwork, images: int) -> None:
        super().__init__(network.body)
        self.images, self.from_image = images, network.coding == "constant"
        self.real = dict[Node, bool]()
        self.layers, self.spikes, self.neurons = dict[str, Work](), dict[str, float](), dict[str, int]()

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        given = n.all_input_nodes
        if n.op == "placeholder":
            self.real[n] = self.from_image
        elif n.target is operator.add or n.op == "output":
            self.real[n] = True  # a sum is of currents, or of spikes that stand for different values
        else:
            self._count(n, given[0], value)
        return value

    def _count(self, node: Node, given: Node, value: torch.Tensor) -> None:
        module, name = self.fetch_attr(str(node.target)), str(node.target)
        if isinstance(module, IntegrateFire):
            self.real[node] = False
            self.spikes[name] = float(value.sum()) / self.images
            self.neurons[name] = value[0].numel()
        elif isinstance(module, (*WEIGHTED, Scale)):
            (arriving,), _ = self.fetch_args_kwargs_from_env(node)
            self.layers[name] = self._work(module, arriving, value, self.real[given])
            self.real[node] = True
        else:
            assert isinstance(module, (*POOLS, nn.Flatten))
            self.real[node] = self.real[given]

    def _work(self, module: nn.Module, x: torch.Tensor, value: torch.Tensor, real: bool) -> Work:
        active = (x != 0).float()
        if isinstance(module, Scale):
            used, connections = float(active.sum()), value[0].numel()
        else:
            assert isinstance(module, WEIGHTED)
            exists = connected(module)
            used = float(exists(active).double().sum())
            connections = int(exists(torch.ones_like(x[:1])).sum())
        if real:
            return Work(0.0, float(connections * len(x)) / self.images, connections)
        return Work(used / self.images, 0.0, connections)


def connected(layer: Weighted) -> Weighted:
    """The layer with 1 for every weight that is not zero: of ones, it gives each output's connections."""
    return like(layer, (layer.weight.detach() != 0).float(), None)
