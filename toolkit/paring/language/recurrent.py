"""The line of `paring convert` for language models that keep a state: export, verify, read, describe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import paring_runtimes
from paring_exporters.language import ExportedLanguage
from paring_exporters.language.parity import LanguageParity, prompts
from paring_exporters.recurrent import export, generation_facts
from paring_exporters.recurrent.parity import compare
from paring_exporters.request import DEFAULT_OPSET
from paring_runtimes import Manifest, Session
from paring_runtimes.artifact import new_artifact
from paring_runtimes.errors import ParityError, RecipeError, TransformRefused

from ..converted import Converted, finish
from ..parameters import parameter_count
from ..recipe import Recipe
from ..sources import LoadedRecurrentModel, digest
from ..transforms._spike_gpt import SpikeGPT, State
from .building import LanguageJob, manifest_of
from .opening import open_job
from .perplexity import Perplexity, batches_of, gate, losses_of, perplexity

if TYPE_CHECKING:
    from .opening import open_job
from .perplexity import Chunks


def convert_recurrent(
    recipe: Recipe,
    source: LoadedRecurrentModel,
    output: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
) -> Converted:
    """Convert a SpikeGPT into an artifact at `output`.

    Where the recipe names a text, perplexity before is PyTorch's over whole chunks, and perplexity after the
    artifact's, token by token.

    Raises:
        ParingError: see `paring_runtimes.errors` for the kinds; nothing is left behind.
    """
    job = _job(recipe, source, progress)
    model = source.model
    assert isinstance(model, SpikeGPT)
    with new_artifact(output, overwrite) as folder:
        progress("exporting the model")
        exported = export(model, folder, recipe.export.opset or DEFAULT_OPSET)
        with paring_runtimes.load(exported.entry) as session:
            found = _verified(job, model, session)
            quality = _quality(job, model, session)
        source.keep(folder)
        manifest = _manifest(job, model, exported, found)
        manifest = finish(folder, manifest, None if quality is None else quality.as_dict())
    return Converted(output, None, manifest, job.notes())


def _job(recipe: Recipe, source: LoadedRecurrentModel, progress: Callable[[str], None]) -> LanguageJob:
    if recipe.transforms:
        name = recipe.transforms[0].name
        raise TransformRefused(f"{name}: {source.spec} is a SpikeGPT, which no transform changes")
    if recipe.export.precision != "fp32":
        raise RecipeError(f"export.precision: {source.spec} is exported in fp32: a threshold needs its bits")
    return open_job(recipe, source, progress)


def _verified(job: LanguageJob, model: SpikeGPT, session: Session) -> LanguageParity:
    wanted = job.recipe.verify
    asked = prompts(model.config.vocabulary, wanted.batch_sizes, wanted.prompt_lengths, wanted.seeds)

    def say(name: str) -> None:
        job.progress(f"verifying the model: {name}")

    found = compare(model, session, asked, wanted.steps, wanted.atol, wanted.rtol, say)
    if not found.passed:
        why = found.failure() or f"{found.ties} spikes at the threshold differ in {found.samples} tokens"
        raise ParityError(f"the exported model differs from PyTorch: {why}")
    return found


def _quality(job: LanguageJob, model: SpikeGPT, session: Session) -> Perplexity | None:
    if job.chunks is None:
        return None
    job.progress(f"reading {len(job.chunks.ids)} chunks with PyTorch and with the model")
    found = perplexity(_whole(model, job.chunks), _by_token(session, model, job.chunks), job)
    gate(job.recipe, found)
    return found


def _whole(model: SpikeGPT, chunks: Chunks) -> np.ndarray:
    """[N] each chunk's loss, all its tokens at once."""
    with torch.inference_mode():
        every = [torch.from_numpy(ids) for ids in batches_of(chunks)]
        return np.concatenate([losses_of(model(ids)[0], ids) for ids in every])


def _by_token(session: Session, model: SpikeGPT, chunks: Chunks) -> np.ndarray:
    """[N] each chunk's loss by the artifact, from the states that it hands out itself."""
    losses = []
    for ids in batches_of(chunks):
        first = dict(zip(State._fields, (one.numpy() for one in model.start(len(ids))), strict=True))
        state = {f"state.{name}": value for name, value in first.items()}
        logits = []
        for column in ids.T:
            found = session.run({"input_ids": np.ascontiguousarray(column), **state})
            logits.append(found.pop("logits"))
            state = {name.replace("updated", "state"): value for name, value in found.items()}
        losses.append(losses_of(torch.from_numpy(np.stack(logits, 1)), torch.from_numpy(ids)))
    return np.concatenate(losses)


def _manifest(
    job: LanguageJob, model: SpikeGPT, exported: ExportedLanguage, found: LanguageParity
) -> Manifest:
    graph = {
        "task": "text-generation",
        "parameters": parameter_count(model),
        "random_weights": job.source.random_weights,
        "generation": {**generation_facts(model), **job.source.token_ids()},
    }
    return manifest_of(job, exported, graph, found.as_dict(), digest(model), "model")
