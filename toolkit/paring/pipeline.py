"""`paring convert`: model -> transform -> export -> verify -> gate -> artifact, as one readable line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from paring_runtimes import Manifest
from paring_runtimes.artifact import hash_files, new_artifact, write_manifest
from paring_runtimes.errors import GateError, RecipeError, TransformRefused

from .building import Job, build
from .data import Preprocess, load_data
from .quality import Quality, quality
from .recipe import Recipe
from .sources import LoadedLanguageModel, digest, load_model
from .transforms import discover
from .transforms._encoder import open_encoder, why_not

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Converted:
    """What a conversion made. `notes` are sentences that the user should read."""

    artifact: Path
    baseline: Path | None
    manifest: Manifest
    notes: tuple[str, ...] = ()


def convert(
    recipe: Recipe,
    output: Path,
    *,
    allow: frozenset[str] = frozenset(),
    overwrite: bool = False,
    progress: Progress = lambda stage: None,
) -> Converted:
    """Convert `recipe.model` into an artifact at `output`, untransformed into `output`-baseline.

    Args:
        recipe: what to do.
        output: the artifact's folder.
        allow: risks the user has allowed by name: "pickle", "remote-code".
        overwrite: replace artifacts that are there.
        progress: told each stage, in words.

    Raises:
        ParingError: see `paring_runtimes.errors` for the kinds; nothing is left behind.
    """
    job = _job(recipe, allow, progress)
    plain = canonical(copy.deepcopy(job.model))
    changed = transform(job.model, recipe)
    kept = recipe.export.baseline and bool(recipe.transforms)
    baseline = output.with_name(f"{output.name}-baseline") if kept else None
    with ExitStack() as stack:
        folder = stack.enter_context(new_artifact(output, overwrite))
        before = None
        if baseline is not None:
            beside = stack.enter_context(new_artifact(baseline, overwrite))
            before = build(job, plain, beside, "baseline")
        elif job.data is not None:
            scratch = Path(stack.enter_context(TemporaryDirectory()))
            before = build(job, plain, scratch, "baseline")
        after = build(job, changed, folder, "transformed" if recipe.transforms else "model")
        found = None
        if job.data is not None and before is not None:
            found = quality(before.answers, after.answers, job.data, job.data_name)
            gate(recipe, found)
        if baseline is not None and before is not None:
            _finish(beside, before.manifest, None if found is None else found.of_baseline())
        manifest = _finish(folder, after.manifest, None if found is None else found.as_dict())
    return Converted(output, baseline, manifest, job.notes())


def _job(recipe: Recipe, allow: frozenset[str], progress: Progress) -> Job:
    if recipe.model is None:
        raise RecipeError("no model: give one on the command line or as `model:` in the recipe")
    progress(f"loading {recipe.model}")
    source = load_model(
        recipe.model,
        weights=recipe.weights,
        allow=allow,
        image_size=recipe.export.image_size,
        any_image_size="image_size" in recipe.export.dynamic,
        seed=recipe.seed,
    )
    if isinstance(source, LoadedLanguageModel):
        raise RecipeError(f"{recipe.model} is a language model, which convert does not take yet")
    if source.model is None:
        raise RecipeError(f"{recipe.model} is for profiling only: convert needs a PyTorch model")
    data, preprocess = None, source.preprocess or Preprocess()
    if recipe.data is not None:
        progress(f"reading {recipe.data.source}")
        wanted = recipe.data
        preprocess = preprocess.overridden(
            size=wanted.image_size,
            channels=wanted.channels,
            padding=wanted.padding,
            mean=wanted.mean,
            std=wanted.std,
        )
        data = load_data(wanted.source, limit=wanted.limit, size=preprocess.size)
    return Job(recipe, source, source.model, digest(source.model), data, preprocess, progress)


def canonical(model: nn.Module) -> nn.Module:
    """The model with its encoder opened where a family knows it: the same function, a leaner graph."""
    if not why_not(model):
        open_encoder(model)
    return model


def transform(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Apply the recipe's transforms in order. `model` is consumed.

    Raises:
        TransformRefused: with every reason why a transform does not fit.
    """
    known = discover()
    for step in recipe.transforms:
        method = known[step.name]
        reasons = method.check(model, step.config)
        if method.TRAITS.static_shape and "image_size" in recipe.export.dynamic:
            reasons.append(
                "its token counts follow from the image size, which export.dynamic leaves open: the"
                " graph would need data-dependent shapes; remove image_size from export.dynamic"
            )
        if reasons:
            raise TransformRefused(f"{step.name}: " + "; ".join(reasons))
        model = method.apply(model, step.config)
    return model if recipe.transforms else canonical(model)


def gate(recipe: Recipe, found: Quality) -> None:
    """Hold the measured drop against each gate.

    Raises:
        GateError: with the figures.
    """
    for rule in recipe.gates:
        drop = found.drop_ci95[1] if rule.confidence == "bound" else found.drop
        if drop > rule.max_drop:
            what = "upper end of the drop's interval" if rule.confidence == "bound" else "drop"
            raise GateError(
                f"{rule.metric}: {what} {drop:.4f} exceeds max_drop {rule.max_drop:.4f}: accuracy"
                f" {found.before:.4f} before, {found.after:.4f} after, drop {found.drop:.4f} (95 %"
                f" interval {found.drop_ci95[0]:.4f} to {found.drop_ci95[1]:.4f}) on {found.samples} images"
            )


def _finish(folder: Path, manifest: Manifest, found: dict[str, Any] | None) -> Manifest:
    """Write the manifest, with the digests of all files, as the last thing."""
    whole = replace(manifest, files=hash_files(folder), quality=found)
    write_manifest(folder, whole)
    return whole
