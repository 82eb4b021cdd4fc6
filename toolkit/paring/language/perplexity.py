"""Perplexity of a text, before and after, with a 95 % interval over its chunks.

A chunk is a run of tokens that a model reads from nothing; its loss is the mean of -log p(next token)
over the chunk, in nats. Perplexity is exp of the mean loss. Both models read the same chunks, so that the
increase has the interval of a paired difference: mean(d) +- t * std(d) / sqrt(N), d = loss after - loss
before, and then exp(...) - 1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from paring_exporters.language.runners import GrowingRunner
from paring_runtimes.errors import GateError, RecipeError

from ..data import TextData
from ..data._images import evenly
from ..recipe import Recipe
from ..transforms._decoder import Decoder

if TYPE_CHECKING:
    from ..sources import LoadedLanguageModel
    from .building import LanguageJob

BATCH = 4  # chunks read at once


@dataclass(frozen=True)
class Chunks:
    """A text cut into [N, T] token ids; the last, shorter piece is left out."""

    ids: np.ndarray
    digest: str


@dataclass(frozen=True)
class Perplexity:
    """`increase` is after / before - 1. `samples` counts chunks."""

    metric: str
    before: float
    after: float
    increase: float
    increase_ci95: tuple[float, float]
    samples: int
    chunk_tokens: int
    data: str
    data_digest: str
    provenance: str = "measured"

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for the manifest."""
        return asdict(self)


def chunks_of(data: TextData, source: LoadedLanguageModel, length: int) -> Chunks:
    """Cut a text into chunks of `length` tokens.

    Raises:
        RecipeError: the model has no tokenizer, reads no such long chunk, or the text is too short.
    """
    tokenizer = source.load_tokenizer()
    if tokenizer is None:
        raise RecipeError(f"{source.spec} has no tokenizer: perplexity of a text cannot be measured")
    most = getattr(source.config, "max_position_embeddings", None)
    if most is not None and length > most:
        raise RecipeError(f"data.chunk: {length} tokens, and {source.spec} reads {most} at most")
    ids = np.asarray(tokenizer(data.text, add_special_tokens=False).input_ids, np.int64)
    count = len(ids) // length
    if count < 2:
        raise RecipeError(f"the text has {len(ids)} tokens; two chunks of {length} are needed at least")
    whole = ids[: count * length].reshape(count, length)
    return Chunks(whole[evenly(count, data.limit)], data.digest)


def decoder_losses(decoder: Decoder, chunks: Chunks) -> np.ndarray:
    """[N] each chunk's loss by the decoder."""
    losses = []
    with torch.inference_mode():
        for ids in batches_of(chunks):
            tokens = torch.from_numpy(ids)
            places = torch.arange(ids.shape[1]).expand(len(ids), -1)
            logits, _ = decoder(tokens, torch.ones_like(tokens), places)
            losses.append(losses_of(logits, tokens))
    return np.concatenate(losses)


def graph_losses(runner: GrowingRunner, chunks: Chunks) -> np.ndarray:
    """[N] each chunk's loss by the artifact."""
    losses = []
    for ids in batches_of(chunks):
        logits = torch.from_numpy(runner.whole(ids, np.ones_like(ids)))
        losses.append(losses_of(logits, torch.from_numpy(ids)))
    return np.concatenate(losses)


def batches_of(chunks: Chunks) -> list[np.ndarray]:
    """The chunks' ids in pieces [B, T] that are read at once."""
    return [chunks.ids[start : start + BATCH] for start in range(0, len(chunks.ids), BATCH)]


def losses_of(logits: torch.Tensor, ids: torch.Tensor) -> np.ndarray:
    """Each chunk's loss [B], of logits [B, T, V] and ids [B, T]."""
    picked = logits[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    each = torch.logsumexp(logits[:, :-1], dim=2) - picked
    return each.mean(1).double().numpy()


def perplexity(before: np.ndarray, after: np.ndarray, job: LanguageJob) -> Perplexity:
    """Compare the losses of two models on the same chunks, at least two."""
    from scipy.stats import t

    assert job.chunks is not None
    assert job.recipe.data is not None
    gap = after - before
    half = float(t.ppf(0.975, len(gap) - 1)) * gap.std(ddof=1) / math.sqrt(len(gap))
    return Perplexity(
        metric="perplexity",
        before=float(np.exp(before.mean())),
        after=float(np.exp(after.mean())),
        increase=float(np.expm1(gap.mean())),
        increase_ci95=(float(np.expm1(gap.mean() - half)), float(np.expm1(gap.mean() + half))),
        samples=len(gap),
        chunk_tokens=job.chunks.ids.shape[1],
        data=job.recipe.data.source,
        data_digest=job.chunks.digest,
    )


def gate(recipe: Recipe, found: Perplexity) -> None:
    """Hold the measured increase against each gate.

    Raises:
        GateError: with the figures.
    """
    for rule in recipe.gates:
        assert rule.max_increase is not None  # the recipe's own check
        bound = rule.confidence == "bound"
        increase = found.increase_ci95[1] if bound else found.increase
        if not increase <= rule.max_increase:
            what = "upper end of the increase's interval" if bound else "increase"
            raise GateError(
                f"perplexity: {what} {increase:.4f} exceeds max_increase {rule.max_increase:.4f}:"
                f" {found.before:.3f} before, {found.after:.3f} after (95 % interval of the increase"
                f" {found.increase_ci95[0]:.4f} to {found.increase_ci95[1]:.4f}) on {found.samples} chunks"
            )
