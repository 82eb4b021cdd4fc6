"""Thresholds once more, to the currents that really arrive (layer-wise calibration as in Li et al. 2021,
https://arxiv.org/abs/2106.06984, section 4).

Thresholds are first chosen as if currents were even over the steps. What the layers before really fire is
not: here each channel takes the candidate near its threshold whose rates, from those currents, are nearest to
the trained network's activations, but for their mean, which biases make up for.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.fx import GraphModule, Node

from .folding import module_of
from .layers import POOLS, WEIGHTED, Scale, by_channel, with_inputs_scaled
from .lifting import put, shape_of
from .neuron import IntegrateFire, integrate_fire

CANDIDATES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)  # of the threshold before
VALUES = 1 << 24  # steps times samples of a layer: how many are simulated at once


def refitted(
    neurons: IntegrateFire, currents: torch.Tensor, exact: torch.Tensor, ceiling: float | None
) -> torch.Tensor:
    """The threshold, in the shape that it has.

    Args:
        neurons: as they are.
        currents: [T, C, S] what arrives at each step, at some places.
        exact: [C, S] the trained network's activations there.
        ceiling: no threshold lies above, or None.
    """
    shape, hard = neurons.threshold.shape, neurons.reset == "hard"
    threshold = neurons.threshold.reshape(-1, 1)  # [C, 1], or [1, 1]
    initial = neurons.initial.reshape(-1, 1) / threshold
    best, least = threshold.clone(), torch.full_like(threshold, float("inf"))
    for factor in sorted(CANDIDATES, key=lambda one: abs(one - 1)):
        tried = (threshold * factor).clamp_max(float("inf") if ceiling is None else ceiling)
        spikes = integrate_fire(currents, tried, initial * tried, hard, neurons.reset_to)
        off = spikes.mean(0) * tried - exact
        error = off.var(1, keepdim=True) if len(threshold) > 1 else off.var().reshape(1, 1)
        better = error < least
        best, least = torch.where(better, tried, best), torch.where(better, error, least)
    return best.reshape(shape)


@torch.no_grad()
def replaced(body: GraphModule, node: Node, threshold: torch.Tensor) -> None:
    """Give the neurons at `node` another threshold, and who reads them weights for it, in place."""
    neurons = module_of(body, node)
    assert isinstance(neurons, IntegrateFire)
    ratio = threshold / neurons.threshold
    neurons.initial.mul_(ratio)
    neurons.threshold.copy_(threshold)
    _scaled(body, node, ratio.flatten() if ratio.numel() > 1 else ratio.reshape(()))


def _scaled(body: GraphModule, node: Node, ratio: torch.Tensor) -> None:
    """Scale what the readers of `node` make of it; `ratio` is [] or [C]."""
    for reader in node.users:
        module = module_of(body, reader)
        if isinstance(module, WEIGHTED):
            put(body, str(reader.target), with_inputs_scaled(module, ratio))
        elif isinstance(module, Scale):
            rank = len(shape_of(node)) - 1
            put(body, str(reader.target), Scale(module.scale * by_channel(ratio, rank)))
        elif isinstance(module, nn.Flatten):
            positions = shape_of(reader)[0] // shape_of(node)[0]
            _scaled(body, reader, ratio if ratio.ndim == 0 else ratio.repeat_interleave(positions))
        else:
            assert isinstance(module, POOLS)
            _scaled(body, reader, ratio)
