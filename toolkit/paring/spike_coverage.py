"""What of a recipe's model would spike, before any conversion."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from paring_runtimes.errors import RecipeError, TransformRefused

from .opening import Progress, calibration_batches, open_images, preprocessing
from .recipe import Recipe
from .sources import LoadedModel
from .transforming import transform
from .transforms._spikes.bipolar.coverage import transformer_coverage
from .transforms._spikes.bipolar.ledger import Ledger, counted
from .transforms._spikes.bipolar.refusals import refusals
from .transforms._spikes.coverage import Coverage, Row, coverage
from .transforms._spikes.lifting import NotTraced


@dataclass(frozen=True)
class SpikeCoverage:
    """The verdicts, and their sum.

    Attributes:
        model: what was looked at.
        input_shape: of one input, without the batch.
        coding: of the input.
        macs: of one input.
        spiking_fraction: of the MACs, 0 to 1.
        convertible: whether the method would take the model.
        operations: one for each, in the order in which they run.
        method: the transform that is spoken of: spike_convert, or of transformers spike_transformer.
        counted: what images caused in the converted transformer, where that was asked for.
    """

    model: str
    input_shape: tuple[int, ...]
    coding: str
    macs: int
    spiking_fraction: float
    convertible: bool
    operations: tuple[Row, ...]
    method: str = "spike_convert"
    counted: Ledger | None = None


def spike_coverage(
    recipe: Recipe,
    source: LoadedModel,
    coding: str = "constant",
    images: int = 0,
    progress: Progress = lambda stage: None,
) -> SpikeCoverage:
    """Look at every operation of a model of images.

    A recipe with spike_transformer is held to that; one without is where spike_transformer takes the model.

    Args:
        recipe: with the model; for `images` also with spike_transformer, `data` and `calibration`.
        source: the model, opened.
        coding: of the input, for spike_convert.
        images: so many of `data` are run as spikes, and every operation counted.
        progress: told each stage, in words.

    Raises:
        RecipeError: the source is a finished graph.
        TransformRefused: the model does not run as a graph.
    """
    if source.model is None:
        raise RecipeError(f"{source.spec} is a finished graph: a PyTorch model is needed")
    named = any(step.name == "spike_transformer" for step in recipe.transforms)
    transformer = named or not refusals(source.model)
    try:
        if transformer:
            found: Coverage = transformer_coverage(source.model, source.input_shape)
        else:
            found = coverage(source.model, source.input_shape, coding)
    except NotTraced as error:
        raise TransformRefused(f"{source.spec}: {error}") from error
    return SpikeCoverage(
        source.spec,
        tuple(source.input_shape),
        coding,
        found.macs,
        found.spiking_fraction,
        found.convertible,
        found.rows,
        "spike_transformer" if transformer else "spike_convert",
        counted_on(recipe, source, images, progress) if images else None,
    )


def counted_on(recipe: Recipe, source: LoadedModel, images: int, progress: Progress) -> Ledger:
    """Run `images` of the recipe's data through its spiking transformer, and count.

    Raises:
        RecipeError: the recipe has no spike_transformer alone, or no data.
        TransformRefused: the transform does not take the model.
    """
    if [step.name for step in recipe.transforms] != ["spike_transformer"] or recipe.data is None:
        raise RecipeError(
            "counting needs -t spike_transformer alone and data, as in --set data.source=embedded; thresholds"
            " are fitted to calibration.source"
        )
    assert source.model is not None
    preprocess = preprocessing(recipe, source)
    data = open_images(recipe.data.source, images, preprocess, recipe.model, progress)
    fitted_to = calibration_batches(recipe, preprocess, progress)
    model = transform(copy.deepcopy(source.model), recipe, fitted_to)
    progress(f"running {len(data.images)} images as spikes")
    return counted(model, torch.from_numpy(preprocess.apply(data.images)))[0]
