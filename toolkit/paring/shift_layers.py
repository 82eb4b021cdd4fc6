"""Which layers of a model bear power-of-two weights, measured on images, for shift_linear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from paring_runtimes.errors import RecipeError, TransformRefused

from .data import ImageData, load_data
from .opening import preprocessing
from .recipe import Recipe
from .sources import LoadedModel
from .transforming import transform
from .transforms import shift_linear
from .transforms._opening import canonical
from .transforms._shift.choice import candidates, named
from .transforms._shift.sensitivity import LayerSensitivity, advised, sensitivity

NAME, BATCH = "shift_linear", 64


@dataclass(frozen=True)
class Limits:
    """What one layer alone may cost: the outputs' signal-to-noise ratio [dB], and top-1 accuracy, a share."""

    min_snr_db: float = 20.0
    max_drop: float | None = None


@dataclass(frozen=True)
class ShiftLayers:
    """The most sensitive layer first; `config` is shift_linear's with the advice in it."""

    model: str
    data: str
    samples: int
    limits: Limits
    layers: tuple[LayerSensitivity, ...]
    config: shift_linear.Config


def shift_layers(
    recipe: Recipe,
    source: LoadedModel,
    limits: Limits,
    progress: Callable[[str], None] = lambda stage: None,
) -> ShiftLayers:
    """Shift each layer that the recipe's shift_linear names alone. The model is consumed.

    Args:
        recipe: with data and one shift_linear step, whose `two_term` is not read; steps before it run first.
        source: a model of images.
        limits: beyond which a layer takes two terms, or stays as it is.
        progress: told which layer is measured.

    Raises:
        RecipeError: there is no such step, no labelled images, or no model.
        TransformRefused: a step does not fit the model.
    """
    model, config = _opened(recipe, source)
    data, pixels = _images(recipe, source)
    reasons = shift_linear.check(model, replace(config, two_term=()))
    if reasons:
        raise TransformRefused(f"{NAME}: " + "; ".join(reasons))
    layers = candidates(model)
    chosen = named(config.layers, layers) - named(config.exclude, layers)
    found = sensitivity(
        model,
        {path: layer for path, layer in layers.items() if path in chosen},
        config.form(),
        torch.tensor_split(pixels, tuple(range(BATCH, len(pixels), BATCH))),
        torch.from_numpy(data.labels).long(),
        lambda path: progress(f"measuring layers: {path}"),
    )
    ranked = advised(list(found), limits.min_snr_db, limits.max_drop)
    told = {
        advice: [one.path for one in ranked if one.advice == advice] for advice in ("two_term", "exclude")
    }
    config = replace(config, two_term=tuple(told["two_term"]), exclude=(*config.exclude, *told["exclude"]))
    name = "" if recipe.data is None else recipe.data.source
    return ShiftLayers(source.spec, name, len(pixels), limits, tuple(ranked), config)


def _opened(recipe: Recipe, source: LoadedModel) -> tuple[nn.Module, shift_linear.Config]:
    """The model after the steps before shift_linear, and that step's config."""
    names = [step.name for step in recipe.transforms]
    if names.count(NAME) != 1:
        raise RecipeError(f"transforms: expected {NAME} once, given {', '.join(names) or 'none'}")
    if source.model is None:
        raise RecipeError(f"{source.spec} is a finished graph: a PyTorch model is needed")
    place = names.index(NAME)
    before = recipe.model_copy(update={"transforms": recipe.transforms[:place]})
    config: shift_linear.Config = recipe.transforms[place].config
    return canonical(transform(source.model, before)), config


def _images(recipe: Recipe, source: LoadedModel) -> tuple[ImageData, torch.Tensor]:
    if recipe.data is None:
        raise RecipeError("data: missing; give labelled images with --data")
    wanted, preprocess = recipe.data, preprocessing(recipe, source)
    data = load_data(wanted.source, limit=wanted.limit, size=preprocess.size)
    if not isinstance(data, ImageData):
        raise RecipeError(f"{wanted.source}: {source.spec} needs labelled images, and these are none")
    return data, torch.from_numpy(preprocess.apply(data.images))
