"""One decoder becomes the files of one artifact: export, verify, read, describe."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import paring_runtimes
from paring_exporters.language import (
    ExportedLanguage,
    LanguageRequest,
    export,
    filter_parity,
    generation_facts,
)
from paring_exporters.language.parity import LanguageParity, Prompt, Runner, compare, prompts
from paring_exporters.language.runners import GrowingRunner, InPlaceRunner, open_in_place
from paring_exporters.request import DEFAULT_OPSET
from paring_runtimes import Manifest, Session, TensorSpec
from paring_runtimes.engines import Options, engines
from paring_runtimes.errors import ParityError
from paring_runtimes.generation.filter_layers import FilterLayers
from paring_runtimes.generation.language_model import language_model_of

from ..parameters import parameter_count
from ..recipe import Recipe, dump_recipe
from ..transforming import described
from ..transforms import gem_filter
from ..transforms._decoder import Decoder
from ..versions import tool_versions
from .perplexity import Chunks, graph_losses

if TYPE_CHECKING:
    from ..sources import LoadedLanguageModel


@dataclass(frozen=True)
class LanguageJob:
    """One conversion under way. `chunks` is the text of the quality gate, or None."""

    recipe: Recipe
    source: LoadedLanguageModel
    chunks: Chunks | None
    progress: Callable[[str], None]
    recovery: Mapping[str, Any] | None = None  # of the transformed model's weights, where they were trained

    def notes(self) -> tuple[str, ...]:
        """What the user should read about the source."""
        found = []
        if self.source.random_weights:
            found.append(f"{self.source.spec} has random weights: its speed is real, its text is not")
        kinds = self.source.facts.get("dequantised_from")
        if kinds:
            listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            found.append(f"{self.source.spec} is dequantised (tensors: {listed}); what that lost stays lost")
        if not self.source.tokenizer_files and self.source.tokenizer is None:
            found.append(f"{self.source.spec} comes without a tokenizer: the artifact takes token ids only")
        if self.chunks is not None and any(step.name == "gem_filter" for step in self.recipe.transforms):
            found.append("perplexity is that of chunks read whole; `paring filter-layers` judges the filter")
        return tuple(found)


@dataclass(frozen=True)
class BuiltLanguage:
    """What was built: the manifest, still without digests, and each chunk's loss ([N] or empty)."""

    manifest: Manifest
    losses: np.ndarray


def build(
    job: LanguageJob,
    decoder: Decoder,
    folder: Path,
    digest: str,
    role: str,
    filter: gem_filter.Config | None = None,
) -> BuiltLanguage:
    """Write one artifact's files into `folder`. `role` is "baseline", "transformed" or "model".

    With `filter` GemFilter's first pass is written too, as a graph of its own.

    Raises:
        ExportError: the decoder cannot be exported.
        ParityError: a graph differs from the decoder.
    """
    wanted = job.recipe.export
    job.progress(f"exporting the {role}")
    request = LanguageRequest(wanted.opset or DEFAULT_OPSET, wanted.precision, wanted.in_place, filter)
    exported = export(decoder, request, folder)
    own = generation_facts(decoder, wanted.precision, wanted.in_place, filter)
    facts = {**own, **job.source.token_ids()}
    losses = np.zeros(0)
    cases, kept = _verify_filter(job, decoder, exported, filter, own)
    with paring_runtimes.load(exported.entry) as session:
        found = _verify(job, decoder, session, exported, facts, role, kept)
        if job.chunks is not None:
            job.progress(f"reading {len(job.chunks.ids)} chunks with the {role}")
            losses = graph_losses(GrowingRunner(session, facts), job.chunks)
    job.source.keep(folder)
    graph = {
        "task": "text-generation",
        "parameters": parameter_count(decoder),
        "random_weights": job.source.random_weights,
        "generation": facts,
    }
    parity = found.as_dict() if cases is None else {**found.as_dict(), "filter": cases}
    return BuiltLanguage(manifest_of(job, exported, graph, parity, digest, role), losses)


def _verify_filter(
    job: LanguageJob,
    decoder: Decoder,
    exported: ExportedLanguage,
    config: gem_filter.Config | None,
    facts: dict[str, Any],
) -> tuple[dict[str, Any] | None, list[Prompt]]:
    """The filter's parity, and the prompts that it made."""
    if config is None:
        return None, []
    wanted = job.recipe.verify
    job.progress("verifying the filter")
    precision = job.recipe.export.precision
    folder = exported.entry.parent
    written = {path.name: "" for path in folder.iterdir()}
    model = language_model_of(folder, {"generation": facts}, written)
    cases, kept = filter_parity.compare(
        decoder,
        config,
        FilterLayers(folder, model, engines()["onnxruntime"], Options()),
        wanted.batch_sizes,
        precision,
        wanted.atol,
        wanted.rtol,
    )
    failure = filter_parity.failure(cases)
    if failure is not None:
        raise ParityError(f"the exported filter differs from PyTorch: {failure}")
    return filter_parity.as_dict(config, cases), kept


def _verify(
    job: LanguageJob,
    decoder: Decoder,
    session: Session,
    exported: ExportedLanguage,
    facts: dict[str, Any],
    role: str,
    more: list[Prompt],
) -> LanguageParity:
    wanted = job.recipe.verify
    runners: dict[str, Callable[[], Runner]] = {exported.entry.name: lambda: GrowingRunner(session, facts)}
    if exported.in_place is not None:
        opened = open_in_place(exported.in_place)
        runners[exported.in_place.name] = lambda: InPlaceRunner(opened, facts, wanted.steps)
    found = compare(
        decoder,
        runners,
        prompts(decoder.vocabulary, wanted.batch_sizes, wanted.prompt_lengths, wanted.seeds) + more,
        wanted.steps,
        job.recipe.export.precision,
        wanted.atol,
        wanted.rtol,
        lambda name: job.progress(f"verifying the {role}: {name}"),
    )
    failure = found.failure()
    if failure is not None:
        raise ParityError(f"the exported {role} differs from PyTorch: {failure}")
    return found


class Written(Protocol):
    """What every export hands back."""

    @property
    def entry(self) -> Path:
        """The artifact's entry."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Of the entry."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Of the entry."""

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest's `export`."""


def manifest_of(
    job: LanguageJob,
    exported: Written,
    graph: dict[str, Any],
    parity: dict[str, Any],
    digest: str,
    role: str,
) -> Manifest:
    """The manifest of one artifact, still without digests; `graph` is its entry of that name."""
    source = job.source
    steps = job.recipe.transforms if role == "transformed" else ()
    return Manifest(
        format="onnx",
        entry=exported.entry.name,
        inputs=exported.inputs,
        outputs=exported.outputs,
        files={},
        source={
            "spec": source.spec,
            "digest": digest,
            "weights": job.recipe.weights,
            **source.facts,
            **({} if job.recovery is None or role == "baseline" else {"recovery": dict(job.recovery)}),
        },
        recipe=dump_recipe(job.recipe),
        transforms=described(steps),
        graph=graph,
        export=exported.facts,
        parity=parity,
        tools=tool_versions(),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
