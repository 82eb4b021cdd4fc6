"""Families of causal language models that paring can open: one file a family, found by its file name.

A family's module offers `locate(model) -> Site | None`: the model's parts, and how to read its layers.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..layer import LayerParts
from ..parts import Embedding
from ..rotary import Rotary


@dataclass(frozen=True)
class Site:
    """A causal language model in parts.

    Attributes:
        embedding: from ids and positions to hidden states.
        rotary: rotations from positions; None where positions are learned.
        layers: the family's own layers.
        split: what takes one of them apart.
        norm: before the head.
        head: from hidden states to logits; its weight may be the embedding's.
        max_positions: how long a text the model was made for.
        reasons: why the model cannot be opened, empty when it can.
    """

    embedding: Embedding
    rotary: Rotary | None
    layers: list[nn.Module]
    split: Callable[[nn.Module], LayerParts]
    norm: nn.Module
    head: nn.Linear
    max_positions: int
    reasons: tuple[str, ...] = ()


def locate(model: nn.Module) -> Site | None:
    """The parts of `model`, or None when no family knows it."""
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_"):
            continue
        site: Site | None = importlib.import_module(f"{__name__}.{info.name}").locate(model)
        if site is not None:
            return site
    return None
