"""Biases that make up for each layer's mean error (bias calibration of Li et al. 2021,
https://arxiv.org/abs/2106.06984, section 4.1).

Layer after layer, with what the layers before it really fire: the mean over images, positions and steps of
each channel's output, against the trained network's, goes into the bias before it.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.fx import GraphModule, Node

from .folding import module_of
from .layers import POOLS, WEIGHTED, Weighted, biased
from .network import SpikingNetwork
from .neuron import IntegrateFire
from .observing import quota_of, sampled
from .refitting import VALUES, refitted, replaced
from .thresholds import Activations

ROUNDS = 2  # the output is no linear function of the bias


@torch.no_grad()
def compensated(
    network: SpikingNetwork,
    wanted: Mapping[str, torch.Tensor],
    batches: Sequence[torch.Tensor],
    seen: Mapping[str, Activations] | None = None,
) -> list[str]:
    """Change the biases of `network`, in place.

    Args:
        network: with neurons.
        wanted: [C] the trained network's mean activations by the neurons' names, and `output`.
        batches: [B, ...] of images. What they fire is kept between two layers, a byte a spike.
        seen: the trained network's activations on them, by the neurons' names: each layer's thresholds are
            fitted to the currents that arrive, before its bias is.

    Returns:
        The neurons with no layer of weights of their own before them, whose error stays.
    """
    running, left = _Running(network, batches), []
    for node in list(network.body.graph.nodes):
        if node in running.kept and node.op != "placeholder":
            module = module_of(network.body, node)
            name = "output" if node.op == "output" else str(node.target)
            if seen is not None and isinstance(module, IntegrateFire):
                exact = seen[name]
                currents, places = running.currents(node)
                fitted = refitted(module, currents, exact.outputs()[:, places], exact.ceiling)
                replaced(network.body, node, fitted)
            if name in wanted:
                source = weights_before(network.body, node, len(wanted[name]))
                if source is None:
                    left.append(name)
                for _ in range(ROUNDS if isinstance(module, IntegrateFire) else 1):
                    if source is not None:
                        biased(source, wanted[name] - running.mean(node))
            running.keep(node)
    return left


def weights_before(body: GraphModule, node: Node, channels: int) -> Weighted | None:
    """The layer whose bias reaches `node` with a gain of 1, and nothing else."""
    for given in node.all_input_nodes:
        module = module_of(body, given)
        if len(given.users) > 1:
            continue
        if isinstance(module, WEIGHTED):
            rows = module.out_features if isinstance(module, nn.Linear) else module.out_channels
            if rows == channels:
                return module
        elif isinstance(module, (*POOLS, nn.Flatten)) or given.target is operator.add:
            found = weights_before(body, given, channels)
            if found is not None:
                return found
    return None


class _Running:
    """The network over all batches, one layer of neurons after the other.

    What neurons fired is kept, and what several read; all between is computed when it is asked for.
    """

    def __init__(self, network: SpikingNetwork, batches: Sequence[torch.Tensor]) -> None:
        self.network, self.body, self.batches = network, network.body, batches
        nodes = list(self.body.graph.nodes)
        self.kept = [node for node in nodes if self._is_kept(node)]
        self.readers = {node: self._reads(node) for node in self.kept}
        self.values: dict[Node, list[torch.Tensor]] = {}

    def _is_kept(self, node: Node) -> bool:
        neurons = isinstance(module_of(self.body, node), IntegrateFire)
        return neurons or len(node.users) > 1 or node.op in ("placeholder", "output")

    def _reads(self, node: Node) -> set[Node]:
        """Which kept nodes a kept node is computed from."""
        found: set[Node] = set()
        for given in node.all_input_nodes:
            found |= {given} if given in self.kept else self._reads(given)
        return found

    def keep(self, node: Node) -> None:
        """Compute a kept node for every batch; forget what no later one needs."""
        spikes = isinstance(module_of(self.body, node), IntegrateFire)
        self.values[node] = [
            value.to(torch.uint8) if spikes else value
            for value in (self._compute(node, at) for at in range(len(self.batches)))
        ]
        later = self.kept[self.kept.index(node) + 1 :]
        needed = set().union(*(self.readers[reader] for reader in later))
        self.values = {one: value for one, value in self.values.items() if one in needed}

    def currents(self, node: Node) -> tuple[torch.Tensor, torch.Tensor]:
        """[T, C, S] what arrives at neurons at each step, and which of the samples of `observing` it is."""
        (given,), parts, places, first = node.all_input_nodes, [], [], 0
        quota, steps = quota_of(self.batches), self.network.steps
        for at in range(len(self.batches)):
            arriving = self._value(given, at).unflatten(0, (steps, -1))
            known = sampled(arriving[0], quota)
            stride = max(1, known.numel() * steps * len(self.batches) // VALUES)
            parts.append(torch.stack([sampled(step, quota)[:, ::stride] for step in arriving]))
            places.append(torch.arange(first, first + known.shape[1], stride))
            first += known.shape[1]
        return torch.cat(parts, 2), torch.cat(places)

    def mean(self, node: Node) -> torch.Tensor:
        """[C] of what a node puts out, in the units of the trained network."""
        total, count = torch.zeros(()), 0
        module = module_of(self.body, node)
        for at in range(len(self.batches)):
            value = self._compute(node, at)
            value = value * module.threshold if isinstance(module, IntegrateFire) else value
            flat = value.movedim(1, 0).flatten(1)
            total, count = total + flat.double().sum(1), count + flat.shape[1]
        return (total / count).float()

    def _value(self, node: Node, at: int) -> torch.Tensor:
        if node.op == "placeholder":
            return self.network.encoder(self.batches[at]).flatten(0, 1)
        if node in self.values:
            return self.values[node][at].float()
        return self._compute(node, at)

    def _compute(self, node: Node, at: int) -> torch.Tensor:
        given = [self._value(one, at) for one in node.args if isinstance(one, Node)]
        if node.op == "output":
            return given[0]
        if node.target is operator.add:
            return given[0] + given[-1]
        module = module_of(self.body, node)
        assert module is not None
        return module(given[0])
