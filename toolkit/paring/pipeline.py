"""`paring convert`: model -> transform -> export -> verify -> gate -> artifact, as one readable line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from paring_runtimes.artifact import new_artifact
from paring_runtimes.errors import InputError, RecipeError, RecoveryError

from .building import Built, Job, build
from .converted import Converted, finish
from .gates import gate
from .given_graph import convert_graph
from .language import convert_language
from .language.recurrent import convert_recurrent
from .opening import Progress, calibration_batches, open_images, open_source, preprocessing
from .quality import Quality, quality
from .quantizing import check_precision, scheme_of
from .recipe import Recipe
from .recover.folder import read_recovery
from .robustness import robustness
from .sources import (
    LoadedGraph,
    LoadedLanguageModel,
    LoadedModel,
    LoadedRecurrentModel,
    LoadedVisionLanguageModel,
    digest,
)
from .transforming import transform
from .transforms._opening import canonical
from .vision_language import convert_vision_language

__all__ = ["Converted", "convert"]


def convert(
    recipe: Recipe,
    output: Path,
    *,
    recovered: Path | None = None,
    allow: frozenset[str] = frozenset(),
    overwrite: bool = False,
    progress: Progress = lambda stage: None,
    before: np.ndarray | None = None,
    answered: Callable[[np.ndarray], None] = lambda answers: None,
) -> Converted:
    """Convert `recipe.model` into an artifact at `output`, untransformed into `output`-baseline.

    Args:
        recipe: what to do.
        output: the artifact's folder.
        recovered: a folder of `paring recover`, whose weights the transformed model takes.
        allow: risks the user has allowed by name: "pickle", "remote-code".
        overwrite: replace artifacts that are there.
        progress: told each stage, in words.
        before: [N] bool, which images the untransformed model answers rightly, where that is known: then it
            is not built again. For a model that answers images, with `export.baseline: false`.
        answered: given the same of the model that was made, where there are images.

    Raises:
        ParingError: see `paring_runtimes.errors` for the kinds; nothing is left behind.
    """
    recovery = None if recovered is None else read_recovery(recovered)
    source = open_source(recipe, allow, progress)
    if isinstance(source, LoadedGraph):
        return convert_graph(recipe, source, output, overwrite=overwrite, progress=progress)
    check_precision(recipe, source)
    if isinstance(source, LoadedVisionLanguageModel) and recipe.calibration is None:
        return convert_vision_language(
            recipe, source, output, recovery=recovery, overwrite=overwrite, progress=progress
        )
    if recovery is not None and isinstance(source, LoadedLanguageModel):
        raise RecoveryError(
            f"{recovered}: a recovery is of a model that takes images; {recipe.model} is another"
        )
    if recipe.calibration is not None and isinstance(source, LoadedLanguageModel):
        raise RecipeError(f"calibration: {recipe.model} is no model that answers images alone; leave it out")
    if isinstance(source, LoadedRecurrentModel):
        return convert_recurrent(recipe, source, output, overwrite=overwrite, progress=progress)
    if isinstance(source, LoadedLanguageModel):
        return convert_language(recipe, source, output, overwrite=overwrite, progress=progress)
    job = _job(recipe, source, progress)
    plain = canonical(copy.deepcopy(job.model))
    if recovery is not None:
        recovery.check(recipe, job.digest)
    # Weights that come from a recovery replace all that would be fitted.
    fitted = recovery is None or scheme_of(recipe) is not None
    images = calibration_batches(recipe, job.preprocess, progress) if fitted else []
    changed = transform(job.model, recipe, images if recovery is None else [])
    if recovery is not None:
        job = replace(job, recovery=recovery.facts())
        changed = recovery.load_into(changed)
    kept = recipe.export.baseline and (bool(recipe.transforms) or scheme_of(recipe) is not None)
    baseline = output.with_name(f"{output.name}-baseline") if kept else None
    with ExitStack() as stack:
        folder = stack.enter_context(new_artifact(output, overwrite))
        plainly = None
        if baseline is not None:
            beside = stack.enter_context(new_artifact(baseline, overwrite))
            plainly = build(job, plain, beside, "baseline")
        elif job.data is not None and before is None:
            scratch = Path(stack.enter_context(TemporaryDirectory()))
            plainly = build(job, plain, scratch, "baseline")
        after = build(job, changed, folder, "transformed" if recipe.transforms else "model", images)
        found = _quality(job, plainly, after, before)
        if found is not None:
            answered(after.answers)
            gate(recipe, found)
        if baseline is not None and plainly is not None:
            finish(beside, plainly.manifest, None if found is None else found.of_baseline())
        manifest = finish(folder, after.manifest, None if found is None else found.as_dict())
    return Converted(output, baseline, manifest, (*job.notes(), *manifest.export.get("notes", ())))


def _job(recipe: Recipe, source: LoadedModel, progress: Progress) -> Job:
    assert source.model is not None
    other = next((rule.metric for rule in recipe.gates if rule.metric != "top1"), None)
    if other is not None:
        raise RecipeError(f"{recipe.model} takes images: its gates hold top1, with max_drop, not {other}")
    data, preprocess, wanted = None, preprocessing(recipe, source), recipe.data
    if wanted is not None:
        data = open_images(wanted.source, wanted.limit, preprocess, recipe.model, progress)
    return Job(recipe, source, source.model, digest(source.model), data, preprocess, progress)


def _quality(job: Job, before: Built | None, after: Built, known: np.ndarray | None) -> Quality | None:
    if job.data is None:
        return None
    if before is None:
        assert known is not None
        if len(known) != len(job.data.images):
            raise InputError(
                f"before: {len(known)} answers are given, and there are {len(job.data.images)} images"
            )
        return quality(known, after.answers, job.data, job.data_name)
    found, conditions = quality(before.answers, after.answers, job.data, job.data_name), job.conditions
    if conditions is None or before.under_corruption is None or after.under_corruption is None:
        return found
    robust = robustness(before.under_corruption, after.under_corruption, conditions)
    return replace(found, robustness=robust)
