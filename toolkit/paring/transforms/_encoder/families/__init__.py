"""Model families whose encoder paring can open: one file a family, found by its file name.

A family's module offers `locate(model) -> Site | None`: where its stack of blocks is, and how to read it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..block import BlockParts
from ..trunk import Trunk


@dataclass(frozen=True)
class Site:
    """A stack of blocks inside a model.

    Attributes:
        parent, name: the attribute that holds the stack.
        path: its dotted path, for messages.
        blocks: the family's own blocks.
        split: what takes one of them apart.
        wrap: makes the module that takes the stack's place from a trunk.
        prefix: leading tokens that are no patches.
        class_token: whether token 0 is a class token.
        grid: how the patches lie, slowest axis first, for the input that the model was built for.
        mean_follows: whether the model takes the plain mean over the tokens, and nothing before it
            undoes a scale.
        reasons: why the stack cannot be opened, empty when it can.
    """

    parent: nn.Module
    name: str
    path: str
    blocks: list[nn.Module]
    split: Callable[[nn.Module], BlockParts]
    wrap: Callable[[Trunk], nn.Module]
    prefix: int
    class_token: bool
    reasons: tuple[str, ...] = ()
    grid: tuple[int, ...] | None = None
    mean_follows: bool = False


def locate(model: nn.Module) -> Site | None:
    """The encoder of `model`, or None when no family knows it."""
    for info in pkgutil.iter_modules(__path__):
        site: Site | None = importlib.import_module(f"{__name__}.{info.name}").locate(model)
        if site is not None:
            return site
    return None
