"""Whether a variant is worth exporting: its first images, answered in PyTorch, before anything is written."""

from __future__ import annotations

import copy

import numpy as np
import torch

from paring.opening import Progress, calibration_batches, open_images, open_source, preprocessing
from paring.quality import paired_interval
from paring.recipe import Recipe
from paring.sources import LoadedModel
from paring.transforming import transform

BATCH = 50


def hopeless(
    recipe: Recipe, limit: float, images: int, allow: frozenset[str], progress: Progress
) -> str | None:
    """Why the variant is given up: the 95 % interval of its drop lies above `limit`. None if it is not.

    The images are spread evenly over the recipe's. Rounding to integers comes after the export and is not
    seen here, so a variant is never given up for that.

    Raises:
        ParingError: the model cannot be loaded, or a transform refuses it.
    """
    if recipe.data is None or not recipe.transforms:
        return None
    source = open_source(recipe, allow, progress)
    if not isinstance(source, LoadedModel) or source.model is None:
        return None
    preprocess = preprocessing(recipe, source)
    count = min(images, recipe.data.limit or images)
    data = open_images(recipe.data.source, count, preprocess, recipe.model, progress)
    fitted = calibration_batches(recipe, preprocess, progress)
    changed = transform(copy.deepcopy(source.model), recipe, fitted)
    progress(f"answering {count} images before exporting")
    pixels = preprocess.apply(data.images)
    before, after = (_right(model, pixels, data.labels) for model in (source.model, changed))
    low, high = paired_interval(before, after)
    if low <= limit:
        return None
    return (
        f"on its first {len(before)} images it lost {before.mean() - after.mean():.1%} (95 % interval"
        f" {low:.1%} to {high:.1%}), and {limit:.1%} is the limit"
    )


def _right(model: torch.nn.Module, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[N] bool."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(labels), BATCH):
            outputs = model.eval()(torch.from_numpy(pixels[start : start + BATCH]))
            scores = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
            found.append(scores.argmax(-1).numpy())
    right: np.ndarray = np.concatenate(found) == labels
    return right
