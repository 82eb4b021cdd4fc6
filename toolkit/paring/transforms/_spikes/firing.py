"""Rectifiers become neurons: the graph of one time step.

A spike 1 of a neuron stands for its threshold. So each value on the way carries a factor that is still owed;
convolutions and linear layers take it into their weights, averages and flattening hand it on, and where none
comes it becomes a `Scale`. Currents and thresholds keep the units of the trained network.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from .layers import POOLS, RECTIFIERS, WEIGHTED, Scale, by_channel, like, with_inputs_scaled
from .lifting import put, shape_of, shaped
from .neuron import IntegrateFire
from .thresholds import Neurons

Owed = tuple[Node, torch.Tensor | None]


def with_neurons(
    body: GraphModule, thresholds: Mapping[str, torch.Tensor], wanted: Neurons, shape: tuple[int, ...]
) -> GraphModule:
    """The body of a `SpikingNetwork`. The lifted network is left as it is.

    Args:
        body: lifted, folded, without max pooling.
        thresholds: of each rectifier by its name, [] or [C].
        wanted: of the neurons.
        shape: of one input, without the batch.
    """
    return _Firing(body, thresholds, wanted).converted(shape)


class _Firing:
    def __init__(self, body: GraphModule, thresholds: Mapping[str, torch.Tensor], wanted: Neurons) -> None:
        self.body, self.thresholds, self.wanted = body, thresholds, wanted
        self.root, self.graph, self.values = nn.Module(), Graph(), dict[Node, Owed]()
        self.scales = 0

    def converted(self, shape: tuple[int, ...]) -> GraphModule:
        for node in self.body.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self.graph.placeholder("x"), None
            elif node.op == "call_function":
                assert node.target is operator.add
                pair = tuple(self._paid(given) for given in node.args)
                self.values[node] = self.graph.call_function(operator.add, pair), None
            elif node.op == "output":
                self.graph.output(self._paid(node.args[0]))
            else:
                self.values[node] = self._called(node)
        # steps=1 while shapes are found: the batch of the example is no sequence
        return _stepped(shaped(GraphModule(self.root, self.graph), shape), self.wanted.steps)

    def _called(self, node: Node) -> Owed:
        module = self.body.get_submodule(str(node.target))
        (given,) = node.all_input_nodes
        value, owed = self.values[given]
        if isinstance(module, WEIGHTED):
            copied = like(module, module.weight, module.bias)
            return self._call(node, copied if owed is None else with_inputs_scaled(copied, owed), value), None
        if isinstance(module, RECTIFIERS):
            return self._neurons(node, self._paid(given))
        if isinstance(module, Scale):
            return value, module.scale if owed is None else owed * module.scale
        if isinstance(module, nn.Flatten):
            positions = shape_of(node)[0] // shape_of(given)[0]
            spread = owed if owed is None or owed.ndim == 0 else owed.repeat_interleave(positions)
            return self._call(node, nn.Flatten(), value), spread
        assert isinstance(module, POOLS)
        return self._call(node, module, value), owed

    def _neurons(self, node: Node, current: Node) -> Owed:
        owed = self.thresholds[str(node.target)]
        threshold = by_channel(owed, len(shape_of(node)) - 1)
        neurons = IntegrateFire(threshold, self.wanted.initial * threshold, 1, self.wanted.reset)
        return self._call(node, neurons, current), owed

    def _call(self, node: Node, module: nn.Module, value: Node) -> Node:
        put(self.root, str(node.target), module)
        return self.graph.call_module(str(node.target), (value,))

    def _paid(self, node: object) -> Node:
        """The value with nothing owed."""
        assert isinstance(node, Node)
        value, owed = self.values[node]
        if owed is None:
            return value
        rank = len(shape_of(node)) - 1
        name, self.scales = f"scale_{self.scales}", self.scales + 1
        put(self.root, name, Scale(by_channel(owed, rank)))
        return self.graph.call_module(name, (value,))


def _stepped(body: GraphModule, steps: int) -> GraphModule:
    for module in body.modules():
        if isinstance(module, IntegrateFire):
            module.steps = steps
    return body
