"""The line of `paring convert` for causal language models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from paring_runtimes.artifact import new_artifact
from paring_runtimes.errors import ExportError

from ..converted import Converted, finish
from ..recipe import Recipe
from ..sources import LoadedLanguageModel, digest
from ..transforming import transform
from ..transforms import gem_filter
from ..transforms._decoder import Decoder, find, why_not
from ..transforms._opening import canonical
from .building import LanguageJob, build
from .opening import open_job
from .perplexity import Perplexity, decoder_losses, gate, perplexity

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Perplexity", "convert_language"]


def convert_language(
    recipe: Recipe,
    source: LoadedLanguageModel,
    output: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
) -> Converted:
    """Convert a causal language model into an artifact at `output`.

    The untransformed model goes to `output`-baseline where the recipe has transforms. Perplexity before
    is that of the untransformed model in PyTorch, in fp32; perplexity after is the artifact's.

    Raises:
        ParingError: see `paring_runtimes.errors` for the kinds; nothing is left behind.
    """
    job = _job(recipe, source, progress)
    marks = digest(source.model)
    kept = recipe.export.baseline and bool(recipe.transforms)
    plain = _opened(canonical(copy.deepcopy(source.model) if recipe.transforms else source.model))
    before = _losses(job, plain)
    baseline = output.with_name(f"{output.name}-baseline") if kept else None
    with ExitStack() as stack:
        folder = stack.enter_context(new_artifact(output, overwrite))
        if baseline is not None:
            beside = stack.enter_context(new_artifact(baseline, overwrite))
            built = build(job, plain, beside, marks, "baseline")
            same = None if before is None else perplexity(before, built.losses, job)
            finish(beside, built.manifest, None if same is None else same.as_dict())
        made = transform(source.model, recipe) if recipe.transforms else plain
        changed, role = _opened(made), "transformed" if recipe.transforms else "model"
        after = build(job, changed, folder, marks, role, _filter(made))
        found = None
        if before is not None:
            found = perplexity(before, after.losses, job)
            gate(recipe, found)
        manifest = finish(folder, after.manifest, None if found is None else found.as_dict())
    return Converted(output, baseline, manifest, job.notes())


def _job(recipe: Recipe, source: LoadedLanguageModel, progress: Callable[[str], None]) -> LanguageJob:
    reasons = why_not(source.model)
    if reasons:
        raise ExportError(f"{source.spec}: " + "; ".join(reasons))
    return open_job(recipe, source, progress)


def _opened(model: nn.Module) -> Decoder:
    found = find(model)
    assert found is not None  # `why_not` has been asked
    return found


def _filter(model: nn.Module) -> gem_filter.Config | None:
    """How the prompt's tokens are chosen, where a transform does that."""
    found = (module.config for module in model.modules() if isinstance(module, gem_filter.PromptFilter))
    return next(found, None)


def _losses(job: LanguageJob, decoder: Decoder) -> np.ndarray | None:
    if job.chunks is None:
        return None
    job.progress(f"reading {len(job.chunks.ids)} chunks with PyTorch")
    return decoder_losses(decoder, job.chunks)
