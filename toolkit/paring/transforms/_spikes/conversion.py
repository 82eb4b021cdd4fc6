"""From a trained network to a spiking one: lift, fold, choose thresholds, put neurons in, compensate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import GraphModule

from .coding import encoder
from .compensation import compensated
from .firing import with_neurons
from .folding import folded
from .lifting import Traced, lifted, traced
from .max_pool import max_pools, without_max_pools
from .max_pool import why_not as why_not_max_pool
from .network import SpikingNetwork
from .observing import observed
from .thresholds import Neurons, threshold_of

INPUT_PERCENTILE = 0.999  # of absolute input values: what the codings with spikes can say at most


@dataclass(frozen=True)
class Wanted:
    """How to convert; see the fields of `spike_convert.Config`."""

    neurons: Neurons
    coding: str = "constant"
    seed: int = 0
    compensate: bool = True
    rewrite_max_pool: bool = True
    levels: int | None = None
    training: str = "even"


def why_not(found: Traced, wanted: Wanted) -> list[str]:
    """What of a network does not convert: the module's path, why, and the nearest that does."""
    wrong = found.unsupported()
    reasons = [f"{one.place} ({one.name}): {one.reason}" for one in wrong]
    if not any(one.kind == "rectifier" for one in found.operations):
        reasons.append("it has no ReLU that would become neurons")
    if wrong:
        return reasons
    body = lifted(found)
    for node in max_pools(body):
        if not wanted.rewrite_max_pool:
            reasons.append(
                f"{node.target} (max_pool2d): the maximum of spikes is not that of rates; average pooling"
                " converts, and so does max_pool: rewrite"
            )
        elif why := why_not_max_pool(body, node):
            reasons.append(why)
    try:
        folded(body, found.shape)
    except ValueError as error:
        reasons.append(str(error))
    return reasons


def rectified(model: nn.Module, shape: tuple[int, ...]) -> GraphModule:
    """The network, the same function, of nothing but what converts."""
    return without_max_pools(folded(lifted(traced(model, shape)), shape), shape)


def converted(model: nn.Module, batches: Sequence[torch.Tensor], wanted: Wanted) -> SpikingNetwork:
    """The spiking network of `model`, fitted to batches of images [B, ...]. The model is left as it is.

    Raises:
        NotTraced: it does not run on them.
        ValueError: something in it does not convert, see `why_not`; or it gives numbers that are not finite.
    """
    shape = tuple(batches[0].shape[1:])
    body = rectified(model, shape)
    seen = observed(body, batches)
    for name, activations in seen.items():
        if not activations.mean.isfinite().all():
            raise ValueError(f"{name} gives values that are not finite on the calibration images")
    neurons, steps = wanted.neurons, wanted.neurons.steps
    thresholds = {name: threshold_of(one, neurons) for name, one in seen.items() if name != "output"}
    largest = torch.cat([batch.abs().flatten() for batch in batches])
    scale = float(torch.quantile(largest[:: max(1, len(largest) >> 20)], INPUT_PERCENTILE)) or 1.0
    network = SpikingNetwork(
        with_neurons(body, thresholds, neurons, shape),
        encoder(wanted.coding, steps, shape, scale, wanted.seed),
        steps,
        wanted.coding,
        shape,
        wanted.levels,
    )
    network.wanted, network.images = wanted, tuple(batches)
    network.eval()
    if wanted.compensate:
        refit = seen if neurons.rule == "mse" else None
        compensated(network, {name: one.mean for name, one in seen.items()}, batches, refit)
    return network
