"""What a recipe names, opened: its model, and its labelled images as that model takes them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from paring_exporters.onnx_graph.quantize import CALIBRATED, MEASURED_ON
from paring_runtimes.errors import RecipeError

from .data import ImageData, Preprocess, QuestionData, load_data
from .recipe import Data, Recipe
from .sources import LoadedGraph, LoadedLanguageModel, LoadedModel, load_model

if TYPE_CHECKING:
    import torch

CALIBRATION_BATCH = 64  # images
Progress = Callable[[str], None]


def open_source(
    recipe: Recipe, allow: frozenset[str], progress: Progress
) -> LoadedModel | LoadedLanguageModel | LoadedGraph:
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
        this = "these are questions" if isinstance(found, QuestionData) else "this is text"
        raise RecipeError(f"{spec}: {model} needs labelled images, and {this}")
    return found


def open_questions(wanted: Data, model: str | None, progress: Progress) -> QuestionData:
    """Read questions on images.

    Raises:
        SourceError: they cannot be read.
        RecipeError: they are no questions.
    """
    importlib.import_module("scipy.stats")  # as for images
    prepared = ("image_size", "channels", "padding", "mean", "std")
    given = [key for key in prepared if getattr(wanted, key) is not None]
    if given:
        raise RecipeError(f"data: leave {', '.join(given)} out: {model} prepares images as its own files say")
    progress(f"reading {wanted.source}")
    found = load_data(wanted.source, limit=wanted.limit)
    if not isinstance(found, QuestionData):
        raise RecipeError(f"{wanted.source}: {model} needs questions on images, as in vqa:DIR")
    return found


def calibration_batches(
    recipe: Recipe, preprocess: Preprocess, progress: Progress, otherwise: np.ndarray | None = None
) -> list[torch.Tensor]:
    """The images that transforms, or the precision, are fitted to, in batches as the model takes them.

    Args:
        recipe: with the key `calibration`, or none is read.
        preprocess: how images become the model's input.
        progress: told what is read.
        otherwise: images [N, H, W, C] uint8 for where the recipe names none; a few hundred of them.

    Raises:
        RecipeError: the recipe names images, but no transform of it is fitted to any, or they are no images.
        SourceError: they cannot be read.
    """
    import torch

    from .transforms import discover

    wanted, known = recipe.calibration, discover()
    fitted = recipe.export.precision in (*CALIBRATED, *MEASURED_ON)
    if not fitted and not any(hasattr(known[step.name], "calibrate") for step in recipe.transforms):
        if wanted is not None:
            raise RecipeError(
                "calibration: neither a transform of the recipe nor its precision is fitted to images;"
                " leave it out"
            )
        return []
    if wanted is not None:
        images = open_images(wanted.source, wanted.limit, preprocess, recipe.model, progress).images
    elif otherwise is not None:
        images = otherwise
    else:
        return []
    starts = range(0, len(images), CALIBRATION_BATCH)
    return [torch.from_numpy(preprocess.apply(images[at : at + CALIBRATION_BATCH])) for at in starts]
