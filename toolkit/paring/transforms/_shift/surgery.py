"""Replacing modules by path, once for every place that holds them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def replaced(
    model: nn.Module, wanted: Callable[[str, nn.Module], bool], made: Callable[[str, nn.Module], nn.Module]
) -> nn.Module:
    """`model` with each wanted module replaced by what is made of it, in place; the root may be one.

    A module that stands at several paths is asked for at its first, and replaced at all.
    """
    new = {module: made(path, module) for path, module in list(model.named_modules()) if wanted(path, module)}
    if model in new:
        return new[model]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in new:
                setattr(parent, name, new[child])
    return model
