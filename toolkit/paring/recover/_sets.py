"""The images to train on, and those held out: kept apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paring_runtimes.errors import RecoveryError

from ..data import ImageData, Preprocess
from ..opening import open_images
from ..recipe import Recipe
from ..recipe._recover import TrainingData


@dataclass(frozen=True)
class Sets:
    """Both sets.

    Attributes:
        training: [N] images; `chosen` of them are trained on.
        chosen: indices into `training`.
        held_out: what the accuracy is measured on.
        shared: images of `training` that are held out as well.
    """

    training: ImageData
    chosen: npt.NDArray[np.int64]
    held_out: ImageData
    shared: int


def read_sets(recipe: Recipe, preprocess: Preprocess, progress: Callable[[str], None]) -> Sets:
    """Read both sets of a recipe, and look for images that are in both.

    Raises:
        RecoveryError: the recipe lacks one, or they share images and the recipe does not say so.
        SourceError: one cannot be read.
    """
    wanted = None if recipe.recover is None else recipe.recover.data
    if wanted is None:
        raise RecoveryError("no training images: add recover.data, as in {source: 'folder:train'}, or --data")
    if recipe.data is None:
        raise RecoveryError("no held-out images: add data, as in {source: 'folder:val'}, or --held-out")
    held_out = open_images(recipe.data.source, recipe.data.limit, preprocess, recipe.model, progress)
    training = open_images(wanted.source, wanted.limit, preprocess, recipe.model, progress)
    known = {image.tobytes() for image in held_out.images}
    seen = np.array([image.tobytes() in known for image in training.images], np.bool_)
    if seen.any():
        judge_shared(wanted, int(seen.sum()), f"{len(seen)} images", recipe.data.source)
    kept = ~seen if wanted.held_out == "exclude" else np.ones_like(seen)
    return Sets(training, np.flatnonzero(kept), held_out, int(seen.sum()))


def judge_shared(wanted: TrainingData, shared: int, of: str, held_out: str) -> None:
    """Say what is wrong with training images that are held out as well.

    Args:
        wanted: the training data.
        shared: how many are, at least one.
        of: out of how many of what.
        held_out: the other data.

    Raises:
        RecoveryError: the recipe refuses them, or none but them is there.
    """
    if wanted.held_out == "refuse":
        raise RecoveryError(
            f"recover.data: {shared} of the {of} of {wanted.source} are held out in {held_out}:"
            " take other images, or train without those by recover.data.held_out: exclude"
        )
    if wanted.held_out == "exclude" and of.startswith(f"{shared} "):
        raise RecoveryError(
            f"recover.data: all {of} of {wanted.source} are held out in {held_out}: none are left"
        )
