"""How many tokens each expert of a model gets, and how many its router would give it by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .dispatch import counts
from .layer import MixtureLinear


@dataclass
class Routed:
    """What one mixture's router preferred over some forward passes: tokens, one number an expert."""

    tokens: int = 0  # of a sample
    preferred: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class ExpertShare:
    """One mixture.

    Attributes:
        layer: its path in the model.
        experts: names.
        tokens: of a sample, that each expert gets.
        alpha: relative latencies.
        costs: where alpha comes from: "measured", "given" or "assumed".
        preferred: share of tokens whose largest gate is each expert's, over data; None without data.
    """

    layer: str
    experts: tuple[str, ...]
    tokens: tuple[int, ...]
    alpha: tuple[float, ...]
    costs: str
    preferred: tuple[float, ...] | None = None


def mixtures(model: nn.Module) -> dict[str, MixtureLinear]:
    """By path, each mixture of a model."""
    return {path: module for path, module in model.named_modules() if isinstance(module, MixtureLinear)}


@contextmanager
def routing(model: nn.Module) -> Iterator[dict[str, Routed]]:
    """Inside, forward passes count what each mixture's router prefers, by the mixture's path."""
    found = {path: Routed(preferred=[0] * len(layer.experts)) for path, layer in mixtures(model).items()}
    with ExitStack() as stack:
        for path, layer in mixtures(model).items():
            handle = layer.register_forward_pre_hook(_counting(found[path]))
            stack.callback(handle.remove)
        yield found


def _counting(into: Routed) -> Any:
    def count(layer: MixtureLinear, inputs: tuple[torch.Tensor]) -> None:
        preferred = layer.preferred(inputs[0])
        into.tokens = preferred.shape[1]
        seen = preferred.flatten().bincount(minlength=len(layer.experts)).tolist()
        into.preferred = [a + b for a, b in zip(into.preferred, seen, strict=True)]

    return count


def expert_shares(model: nn.Module, routed: dict[str, Routed], with_preferred: bool) -> list[ExpertShare]:
    """Each mixture of `model`, by what `routing` counted; `with_preferred` when that was over real data."""
    shares = []
    for path, layer in mixtures(model).items():
        seen = routed[path]
        total = max(1, sum(seen.preferred))
        shares.append(
            ExpertShare(
                layer=path,
                experts=tuple(layer.experts),
                tokens=counts(layer.plan.shares, seen.tokens),
                alpha=layer.plan.alpha,
                costs=layer.plan.costs,
                preferred=tuple(n / total for n in seen.preferred) if with_preferred else None,
            )
        )
    return shares
