"""A model in the form that is trained, and in the form that is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..recipe import Step
from ..transforms import discover

Auxiliary = Callable[[nn.Module], torch.Tensor]


def trainable(model: nn.Module, steps: Sequence[Step]) -> nn.Module:
    """`model` with straight-through forms where a step's transform has them. `model` is consumed."""
    for change in _offered(steps, "trainable"):
        model = change(model)
    return model


def frozen(model: nn.Module, steps: Sequence[Step]) -> nn.Module:
    """`model` as it is exported, in eval mode. `model` is consumed."""
    for change in reversed(_offered(steps, "frozen")):
        model = change(model)
    return model.eval()


def auxiliary_losses(steps: Sequence[Step]) -> list[Auxiliary]:
    """What the steps' transforms add to the loss, called with the model after its forward pass."""
    return _offered(steps, "auxiliary_loss")


def reforming(steps: Sequence[Step]) -> list[str]:
    """The steps that are trained in another form than they are exported in, or add to the loss."""
    forms = ("trainable", "frozen", "auxiliary_loss")
    known = discover()
    names = dict.fromkeys(step.name for step in steps)
    return [name for name in names if any(hasattr(known[name], form) for form in forms)]


def _offered(steps: Sequence[Step], name: str) -> list[Callable[[nn.Module], Any]]:
    """The function `name` of each transform that has one; once, however often the recipe applies it."""
    known = discover()
    methods = [known[step] for step in dict.fromkeys(step.name for step in steps)]
    return [getattr(method, name) for method in methods if hasattr(method, name)]
