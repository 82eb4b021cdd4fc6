"""What a recipe names, opened: its model, and its labelled images as that model takes them."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from paring_runtimes.errors import RecipeError

from .data import ImageData, Preprocess, load_data
from .recipe import Recipe
from .sources import LoadedLanguageModel, LoadedModel, load_model

Progress = Callable[[str], None]


def open_source(
    recipe: Recipe, allow: frozenset[str], progress: Progress
) -> LoadedModel | LoadedLanguageModel:
    """Load the recipe's model.

    Raises:
        RecipeError: the recipe names none.
        SourceError: the model or its weights cannot be loaded.
    """
    if recipe.model is None:
        raise RecipeError("no model: give one on the command line or as `model:` in the recipe")
    progress(f"loading {recipe.model}")
    return load_model(
        recipe.model,
        weights=recipe.weights,
        allow=allow,
        image_size=recipe.export.image_size,
        any_image_size="image_size" in recipe.export.dynamic,
        seed=recipe.seed,
    )


def preprocessing(recipe: Recipe, source: LoadedModel) -> Preprocess:
    """How images become the model's input: what the model says, then what the recipe's data say."""
    channels, *size = source.input_shape
    unsaid = Preprocess(size=(size[0], size[1]), channels=channels if channels in (1, 3) else 3)
    preprocess, wanted = source.preprocess or unsaid, recipe.data
    if wanted is None:
        return preprocess
    return preprocess.overridden(
        size=wanted.image_size,
        channels=wanted.channels,
        padding=wanted.padding,
        mean=wanted.mean,
        std=wanted.std,
    )


def open_images(
    spec: str, limit: int | None, preprocess: Preprocess, model: str | None, progress: Progress
) -> ImageData:
    """Read labelled images.

    Raises:
        SourceError: they cannot be read.
        RecipeError: they are no images.
    """
    importlib.import_module("scipy.stats")  # the intervals need it: better missed now than at the end
    progress(f"reading {spec}")
    found = load_data(spec, limit=limit, size=preprocess.size)
    if not isinstance(found, ImageData):
        raise RecipeError(f"{spec}: {model} needs labelled images, and this is text")
    return found
