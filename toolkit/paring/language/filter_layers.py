"""Which layer of a language model can filter a prompt: needle recall at k, layer by layer.

Recall is the share of the needle's tokens among the k that the layer would keep. Its 95 % interval over
prompts is Wilson's, which is meant for yes and no and so is wide enough for shares between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from paring_profiles.statistics import wilson
from paring_runtimes.errors import ExportError, RecipeError

from ..sources import LoadedLanguageModel
from ..transforms._decoder import find, why_not
from ..transforms._gem_filter import choose_layer
from ..transforms._opening import canonical
from ..transforms.gem_filter import Config, recall_by_layer
from .needles import FILLER, NeedlePrompt, needle_prompts


@dataclass(frozen=True)
class Retrieval:
    """The retrieval set: one prompt for every length (tokens), depth (0 to 1) and seed.

    Attributes:
        text: what the needles are hidden in; None is a small text of our own, repeated.
        ask: how a prompt ends, "sentence", "question" or "chat"; see `needle_prompts`.
    """

    lengths: tuple[int, ...]
    depths: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    seeds: tuple[int, ...] = (0, 1)
    text: str | None = None
    ask: str = "chat"


@dataclass(frozen=True)
class LayerRecall:
    """One layer. `first_pass` is its share of the layers: what of a whole prefill runs before it."""

    layer: int
    recall: float
    recall_ci95: tuple[float, float]
    found_whole: float  # share of prompts whose whole needle stays
    first_pass: float


@dataclass(frozen=True)
class FilterLayers:
    """All layers; `chosen` is the earliest whose recall reaches `wanted`, or the best."""

    model: str
    k: int
    prompts: int
    retrieval: Retrieval
    layers: tuple[LayerRecall, ...]
    wanted: float
    chosen: int


def filter_layers(
    source: LoadedLanguageModel,
    config: Config,
    retrieval: Retrieval,
    wanted: float = 0.95,
    progress: Callable[[str], None] = lambda stage: None,
) -> FilterLayers:
    """Score every layer of a model. `config.layer` and its pins are not read; the model is consumed.

    Raises:
        ExportError: no causal language model, or one of no known family.
        RecipeError: no tokenizer; lengths that the model does not read, or that k tokens hold.
    """
    reasons = why_not(source.model)
    if reasons:
        raise ExportError(f"{source.spec}: " + "; ".join(reasons))
    prompts = _prompts(source, config, retrieval)
    decoder = find(canonical(source.model))
    assert decoder is not None  # `why_not` has been asked
    found = []
    for number, prompt in enumerate(prompts, 1):
        progress(f"reading prompts: {number} of {len(prompts)}")
        ids = torch.tensor([prompt.ids])
        found.append(recall_by_layer(decoder, [ids], [prompt.needle], config))
    recall = torch.cat(found, 1)
    depth = len(recall)
    layers = tuple(_layer(index, row.tolist(), depth) for index, row in enumerate(recall))
    chosen = choose_layer(recall, wanted)
    return FilterLayers(source.spec, config.k, len(prompts), retrieval, layers, wanted, chosen)


def _prompts(source: LoadedLanguageModel, config: Config, retrieval: Retrieval) -> list[NeedlePrompt]:
    tokenizer = source.load_tokenizer()
    if tokenizer is None:
        raise RecipeError(f"{source.spec} has no tokenizer: no needle can be written for it")
    most = getattr(source.config, "max_position_embeddings", None)
    for length in retrieval.lengths:
        if most is not None and length > most:
            raise RecipeError(f"length: {length} tokens, and {source.spec} reads {most} at most")
        if length <= config.k:
            raise RecipeError(f"length: of {length} tokens all stay when k is {config.k}; ask for more")
    text = FILLER if retrieval.text is None else retrieval.text
    return needle_prompts(
        tokenizer, text, retrieval.lengths, retrieval.depths, retrieval.seeds, retrieval.ask
    )


def _layer(index: int, recall: list[float], depth: int) -> LayerRecall:
    mean = sum(recall) / len(recall)
    whole = sum(share >= 1 for share in recall) / len(recall)
    return LayerRecall(index, mean, wilson(mean, len(recall)), whole, index / depth)
