"""Long prompts made shorter: a graph scores the tokens, the best are read (GemFilter, arXiv 2409.17422)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import InputError
from paring_runtimes.generation.graph_check import check_graph
from paring_runtimes.generation.in_place_cache import lengthened, reading_plan
from paring_runtimes.generation.language_model import FilterModel, LanguageModel
from paring_runtimes.generation.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INDICES = ("input_ids", "positions", "length")


class PromptFilter:
    """The filter with the pins of one call. The native session may be shared by threads.

    Args:
        native: the open graph.
        model: its facts, those of a filter among them.
        options: the call's, for its pins and its number of tokens.

    Raises:
        InputError: more tokens are pinned than stay.
    """

    def __init__(self, native: NativeSession, model: LanguageModel, options: Options) -> None:
        assert model.filter is not None
        self._native = native
        self._model = model
        self.k = model.filter.k if options.filter_k is None else options.filter_k
        self.pins = pins(model.filter, options)
        if sum(self.pins) > self.k:
            raise InputError(
                f"pin_first, pin_last: {sum(self.pins)} tokens are pinned, but only {self.k} stay"
            )

    def columns(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """Return the places of the tokens that stay, ascending; all of a prompt of k tokens or fewer."""
        if len(prompt) <= self.k:
            return tuple(range(len(prompt)))
        (scores,) = read_scores(self._native, self._model, np.array([prompt], np.int64))
        return best(scores, self.k, self.pins)


def best(scores: NDArray[Any], k: int, pins: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    """Return the places of the k highest scores [S], ascending; of equal scores the earlier stays.

    `pins` leading and last places stay whatever their score.
    """
    ranked = scores.astype(np.float32)
    ranked[: pins[0]] = ranked[len(ranked) - pins[1] :] = np.inf
    return tuple(np.sort(np.argsort(-ranked, kind="stable")[:k]).tolist())


def pins(model: FilterModel, options: Options) -> tuple[int, int]:
    """Return how many leading and last tokens stay anyway: the call's, else the artifact's."""
    first = model.pin_first if options.pin_first is None else options.pin_first
    last = model.pin_last if options.pin_last is None else options.pin_last
    return first, last


def read_scores(native: NativeSession, model: LanguageModel, ids: NDArray[Any]) -> NDArray[np.float32]:
    """Read prompts of one length, chunk by chunk; return their tokens' scores.

    What is held meanwhile are the buffers of the layers up to the filter's, and one chunk's activations.

    Args:
        native: the filter's graph.
        model: its facts.
        ids: [batch, length] int64.

    Returns:
        [batch, length] fp32.
    """
    batch, length = ids.shape
    names, written = filter_cache(model, "cache"), filter_cache(model, "updated")
    buffers: dict[str, NDArray[Any]] = {}
    scores = np.zeros((batch, 0), np.float32)
    for start, tokens, capacity in reading_plan(length, 1):
        for name in names:
            old = buffers.get(name)
            if old is None or old.shape[2] < capacity:
                buffers[name] = lengthened(old, model, batch, capacity)
        feeds = {
            "input_ids": ids[:, start : start + tokens].copy(),
            "positions": np.tile(np.arange(start, start + tokens), (batch, 1)),
            "length": np.full(batch, length),
        }
        scores = np.zeros((batch, capacity), np.float32)
        updated = dict(zip(written, buffers.values(), strict=True))
        native.bind({**feeds, **buffers}, {"scores": scores, **updated})()
    return scores[:, :length]


def filter_cache(model: LanguageModel, prefix: str) -> list[str]:
    """Return the names of the filter's buffers: of its last layer there are only keys."""
    assert model.filter is not None
    return model.cache_names(prefix)[: 2 * model.filter.layer + 1]


def check_filter(path: Path, native: NativeSession, model: LanguageModel) -> None:
    """Check that a graph takes and gives what the filter binds.

    Raises:
        ArtifactError: a name, dtype or size differs.
    """
    caches, updated = filter_cache(model, "cache"), filter_cache(model, "updated")
    kind = "a prompt filter that reads a chunk at a time (an older one? convert the model again)"
    check_graph(path, native, model, {*_INDICES, *caches}, ["scores", *updated], caches, kind)
