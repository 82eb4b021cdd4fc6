"""What a SpikeGPT does for a token: which sums of products its spikes feed, found by testing every tensor.

A product counts as a synaptic operation where the layer's input was zeros and ones at every token; it is then
done only where there is a one. Every other layer reads real numbers and multiplies: all its products are
MACs. No layer is believed to be spiking by its name: here spikes are added to a residual stream, which a
layer norm makes real again before any weight reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .model import SpikeGPT
from .neuron import Leaky


@dataclass(frozen=True)
class Products:
    """Of one matrix, for a token on average.

    Attributes:
        dense: products of the whole matrix.
        active: products whose input is not zero.
        binary: whether every input was 0 or 1.
    """

    dense: int
    active: float
    binary: bool


@dataclass(frozen=True)
class Counted:
    """Of a whole model, for a token on average.

    Attributes:
        products: by the matrix's name.
        rates: spikes for each neuron and token, by the name of their layer.
        spikes: in all layers: so many additions to the residual stream.
        tokens: that were read.
    """

    products: dict[str, Products]
    rates: dict[str, float]
    spikes: float
    tokens: int

    @property
    def dense(self) -> int:
        """Products of all matrices."""
        return sum(one.dense for one in self.products.values())

    @property
    def macs(self) -> int:
        """Products with real inputs."""
        return sum(one.dense for one in self.products.values() if not one.binary)

    @property
    def synops(self) -> float:
        """Products with spikes, each an addition."""
        return sum(one.active for one in self.products.values() if one.binary)

    @property
    def nonzero(self) -> float:
        """Products whose input is not zero, real or not."""
        return sum(one.active for one in self.products.values())

    @property
    def rate(self) -> float:
        """Spikes for each neuron and token; the layers are equally wide."""
        return sum(self.rates.values()) / len(self.rates)


@torch.inference_mode()
def counted(model: SpikeGPT, ids: torch.Tensor) -> Counted:
    """Let `model` read ids [B, T] and count."""
    products, rates, hooks = dict[str, Products](), dict[str, float](), []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            hooks.append(module.register_forward_hook(_products(products, name, ids.numel())))
        elif isinstance(module, Leaky):
            hooks.append(module.register_forward_hook(_rates(rates, name)))
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return Counted(products, rates, sum(rates.values()) * model.config.width, ids.numel())


def is_binary(tensor: torch.Tensor) -> bool:
    """Whether there are only zeros and ones in it."""
    return bool(((tensor == 0) | (tensor == 1)).all())


def _products(found: dict[str, Products], name: str, tokens: int) -> Callable[..., None]:
    def hook(module: nn.Linear, given: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
        active = float(torch.count_nonzero(given[0])) / tokens * module.out_features
        found[name] = Products(module.in_features * module.out_features, active, is_binary(given[0]))

    return hook


def _rates(found: dict[str, float], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, given: Any, result: tuple[torch.Tensor, ...]) -> None:
        assert is_binary(result[0])
        found[name] = float(result[0].mean())

    return hook
