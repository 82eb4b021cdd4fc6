"""The recipe's transforms, one after the other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paring_runtimes.artifact import sha256_of
from paring_runtimes.errors import TransformRefused

from .recipe import Recipe, Step
from .transforms import discover
from .transforms._opening import canonical


def refuse_unexportable(recipe: Recipe) -> None:
    """Refuse steps that work in PyTorch only, before anything is loaded or written.

    Raises:
        TransformRefused: with what would be right.
    """
    known = discover()
    for step in recipe.transforms:
        asked: Any = getattr(known[step.name], "unexportable", None)
        reason = "" if asked is None else asked(step.config)
        if reason:
            raise TransformRefused(f"{step.name}: {reason}")


def described(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as a manifest tells them; of one that reads weights from a file with the file's SHA-256."""
    found = []
    for step in steps:
        told: dict[str, Any] = {"name": step.name, "config": asdict(step.config)}
        file = told["config"].get("weights")
        if isinstance(file, str) and Path(file).is_file():
            told["weights_sha256"] = sha256_of(Path(file))
        found.append(told)
    return found


def notes(model: nn.Module, steps: Sequence[Step], images: torch.Tensor) -> list[str]:
    """What the user should read about what the steps made; images [B, C, H, W] as the model takes them."""
    known, found = discover(), list[str]()
    for step in steps:
        asked: Any = getattr(known[step.name], "notes", None)
        found += [] if asked is None else asked(model, images)
    return found


def transform(model: nn.Module, recipe: Recipe, images: Sequence[torch.Tensor] = ()) -> nn.Module:
    """Apply the recipe's transforms in order. `model` is consumed.

    Args:
        model: to be changed.
        recipe: with the transforms.
        images: batches [B, C, H, W] that those transforms are fitted to that can be.

    Raises:
        TransformRefused: with every reason why a transform does not fit.
    """
    for step in recipe.transforms:
        model = apply_step(model, step, recipe, images)
    return model if recipe.transforms else canonical(model)


def apply_step(
    model: nn.Module, step: Step, recipe: Recipe, images: Sequence[torch.Tensor] = ()
) -> nn.Module:
    """Apply one of the recipe's transforms. `model` is consumed; the rest is as for `transform`.

    Raises:
        TransformRefused: with every reason why the transform does not fit.
    """
    method = discover()[step.name]
    try:
        reasons = method.check(model, step.config)
    except ValueError as error:  # an earlier step left the model in pieces that no longer fit
        reasons = [str(error)]
    if method.TRAITS.static_shape and "image_size" in recipe.export.dynamic:
        reasons.append(
            "its token counts follow from the image size, which export.dynamic leaves open: the"
            " graph would need data-dependent shapes; remove image_size from export.dynamic"
        )
    if not method.TRAITS.fp16 and recipe.export.precision in ("fp16", "bf16"):
        reasons.append(
            "it makes bits of numbers, and 16 bits round more of them to the other side of a threshold than"
            " parity can tell from an error: export.precision fp32 is needed"
        )
    if reasons:
        raise TransformRefused(f"{step.name}: " + "; ".join(reasons))
    calibrate: Any = getattr(method, "calibrate", None)
    if calibrate is None or not images:
        return method.apply(model, step.config)
    original = copy.deepcopy(model)
    fitted: nn.Module = calibrate(method.apply(model, step.config), images, original)
    return fitted
