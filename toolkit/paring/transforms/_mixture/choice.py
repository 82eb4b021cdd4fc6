"""Which linear layers of an encoder's blocks become mixtures, and what a recipe's figures say of each."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from .._encoder import find
from .._encoder.trunk import Trunk
from .._shift.choice import candidates, named
from .layer import MixtureLinear, Plan
from .primitives import PRIMITIVES

KINDS = ("mlp", "attention", "all")


def mixable(model: nn.Module) -> dict[str, nn.Linear]:
    """By path, the linear layers in the blocks of an opened encoder that are no part of a mixture yet."""
    trunk = find(model)
    if trunk is None:
        return {}
    inside = {
        part
        for mixture in model.modules()
        if isinstance(mixture, MixtureLinear)
        for part in mixture.modules()
    }
    start = _path(model, trunk)
    return {
        path: layer
        for path, layer in candidates(model).items()
        if type(layer) is nn.Linear and path.startswith(start) and layer not in inside
    }


def _path(model: nn.Module, trunk: Trunk) -> str:
    path = next(path for path, module in model.named_modules() if module is trunk)
    return f"{path}." if path else ""


def chosen(layers: Mapping[str, nn.Linear], wanted: Iterable[str], without: Iterable[str]) -> set[str]:
    """The paths that `wanted` names and `without` does not."""
    return named(wanted, layers) - named(without, layers)


def shape_key(layer: nn.Linear) -> str:
    """How a recipe names the shape of a layer: inputs x outputs."""
    return f"{layer.in_features}x{layer.out_features}"


def relative(costs: Sequence[float]) -> tuple[float, ...]:
    """Costs divided by their sum."""
    return tuple(cost / sum(costs) for cost in costs)


def inverse(costs: Sequence[float]) -> tuple[float, ...]:
    """Shares in inverse proportion to costs: every expert then works for as long."""
    return relative([1 / cost for cost in costs])


def assumed(experts: Sequence[str]) -> tuple[float, ...]:
    """Costs of experts that were not measured."""
    return tuple(PRIMITIVES[name].cost for name in experts)


def mixed(path: str, layer: nn.Linear, experts: Sequence[str], plan: Plan) -> MixtureLinear:
    """The mixture of one layer. Its router is drawn at random, the same for the same path and shape."""
    built = {name: PRIMITIVES[name].build(layer) for name in experts}
    router = nn.Linear(layer.in_features, len(experts), dtype=layer.weight.dtype)
    generator = torch.Generator().manual_seed(zlib.crc32(path.encode()))
    with torch.no_grad():
        router.weight.normal_(std=layer.in_features**-0.5, generator=generator)
        router.bias.zero_()
    return MixtureLinear(built, router.to(layer.weight.device), plan).train(layer.training)
