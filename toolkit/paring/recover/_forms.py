"""A model in the form that is trained, and in the form that is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..recipe import Recipe, Step
from ..sources._loaded import seeded
from ..transforming import apply_step
from ..transforms import discover

Auxiliary = Callable[[nn.Module], torch.Tensor]


def applied(
    model: nn.Module,
    recipe: Recipe,
    places: slice,
    seed: int,
    calibration: Sequence[torch.Tensor],
    original: nn.Module,
) -> nn.Module:
    """`model`, consumed, after the recipe's transforms at `places`, fitted to images where they can be.

    Args:
        model: on the CPU, as `original`.
        recipe: whose transforms are meant.
        places: a part of them.
        seed: of the weights that a transform draws.
        calibration: images [B, C, H, W], in batches.
        original: the untransformed model, opened.
    """
    with seeded(seed):
        for step in recipe.transforms[places]:
            model = apply_step(model, step, recipe)
            fit = getattr(discover()[step.name], "calibrate", None)
            if fit is not None:
                model = fit(model, calibration, original)
    return model


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


def _offered(steps: Sequence[Step], name: str) -> list[Callable[[nn.Module], Any]]:
    """The function `name` of each transform that has one; once, however often the recipe applies it."""
    known = discover()
    methods = [known[step] for step in dict.fromkeys(step.name for step in steps)]
    return [getattr(method, name) for method in methods if hasattr(method, name)]
