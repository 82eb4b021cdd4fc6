"""Thresholds from what neurons see: those whose codes lie nearest to the values, squared.

Each layer is fitted on what the layers before it, already in codes, hand on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import nn

from ..._encoder import Trunk
from .neuron import Neurons
from .time import OnePass, Unit
from .trunk import QuantisedTrunk, find

SAMPLES = 1 << 15  # values of a layer that are searched over
GRID = 48  # thresholds tried for each range, in even ratios
SMALLEST = 0.03  # of the threshold that lets nothing saturate: the least that is tried
IMAGES = 128  # at once; each layer sees all of them
TOKENS = 16  # where there are no images and a model does not say how many it takes


class Fitting(OnePass):
    """The quantised form, each layer of neurons fitted on the way."""

    def fire(self, neurons: Neurons, x: torch.Tensor, unit: Unit = 1.0) -> torch.Tensor:
        """Fit, then as in one pass."""
        values = (x * unit).flatten()
        fit(neurons, values[:: max(1, len(values) // SAMPLES)])
        return neurons.codes(x, unit)


def fit(neurons: Neurons, values: torch.Tensor) -> None:
    """Set the threshold and the range of codes of the least squared error over `values` [S].

    Ranges are all positive, symmetric, and three between for values that are seldom negative (GELU).

    Raises:
        ValueError: values are not finite.
    """
    if not bool(values.isfinite().all()):
        raise ValueError("values that are not finite reach the neurons on the calibration inputs")
    if not bool(values.any()):
        return  # silent: any threshold keeps it so
    least, best, levels = float("inf"), (values.abs().amax(), 0), neurons.levels
    for lowest in sorted({0, -1, -2, -(levels // 4), -(levels // 2)} & set(range(-levels // 2, 1))):
        highest = lowest + levels - 1
        widest = max(float(values.amax()) / max(highest, 1), float(values.amin()) / lowest if lowest else 0.0)
        if widest <= 0:
            continue
        ratios = SMALLEST ** torch.linspace(0, 1, GRID, dtype=values.dtype, device=values.device)
        tried = (widest * ratios)[:, None]
        codes = torch.floor(values / tried + 0.5).clamp(lowest, highest)
        errors = (codes * tried - values).square().mean(1)
        at = int(errors.argmin())
        if float(errors[at]) < least:
            least, best = float(errors[at]), (tried[at, 0], lowest)
    neurons.set(*best)


@torch.no_grad()
def fitted(model: nn.Module, batches: Sequence[torch.Tensor]) -> nn.Module:
    """Fit every layer of a model in its quantised form to batches of inputs; the model is changed.

    Raises:
        ValueError: what reaches some neurons is not finite.
    """
    trunk = find(model)
    assert isinstance(trunk, QuantisedTrunk)

    def fit_all(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, QuantisedTrunk)
        module.over(given[0], Fitting())

    with ExitStack() as stack:
        stack.callback(trunk.register_forward_pre_hook(fit_all).remove)
        model(torch.cat(list(batches))[:IMAGES])
    return model


@torch.no_grad()
def fitted_to_tokens(blocks: QuantisedTrunk, trunk: Trunk) -> None:
    """Fit to normally distributed tokens, as many as `trunk` takes where it says, for want of images."""
    count = trunk.prefix + math.prod(trunk.grid or (TOKENS,))
    first = blocks.opened()[0].query
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4, count, first.in_features, generator=generator)
    blocks.over(tokens.to(first.weight), Fitting())
