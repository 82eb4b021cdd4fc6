"""How near a model's bits came to falling otherwise, and the same model with bits that another computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from .binarisers import Binariser

Hook = Callable[[nn.Module, tuple[Any, ...], torch.Tensor], torch.Tensor | None]


@contextmanager
def watching(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Inside, each forward pass adds [B] for each binariser: by how little its closest bit was decided."""
    found: list[torch.Tensor] = []

    def look(module: nn.Module, inputs: tuple[Any, ...], bits: torch.Tensor) -> None:
        assert isinstance(module, Binariser)
        found.append(module.gap(inputs[0]).flatten(1).amin(1))

    with _hooked(model, look):
        yield found


@contextmanager
def adopting(model: nn.Module, others: Sequence[torch.Tensor], margin: float) -> Iterator[None]:
    """Inside, one forward pass takes the bits of `others` where its own were decided by less than `margin`.

    Two correct implementations round differently, so that a value within rounding of its threshold may fall
    on either side. All that lies beyond `margin` stays the model's own, and shows as a difference.

    Args:
        model: whose binarisers run in the order of `others`.
        others: [B, H, N, b] bool, one a binariser's call.
        margin: in the binarisers' units.
    """
    waiting = list(others)

    def adopt(module: nn.Module, inputs: tuple[Any, ...], bits: torch.Tensor) -> torch.Tensor:
        assert isinstance(module, Binariser)
        other = waiting.pop(0)
        return torch.where(module.gap(inputs[0]) < margin, other, bits)

    with _hooked(model, adopt):
        yield
    if waiting:
        raise ValueError(f"{len(waiting)} of {len(others)} sets of bits were not asked for")


def binarisers(model: nn.Module) -> list[Binariser]:
    """Every binariser of a model."""
    return [module for module in model.modules() if isinstance(module, Binariser)]


@contextmanager
def _hooked(model: nn.Module, hook: Hook) -> Iterator[None]:
    with ExitStack() as stack:
        for module in binarisers(model):
            handle = module.register_forward_hook(hook)
            stack.callback(handle.remove)
        yield
