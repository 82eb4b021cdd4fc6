"""A key-value cache that the graph returns anew, one longer, in every step: it is copied every time.

This is the form that other exporters write (optimum's names). Short prompts of a batch are padded on
the left, so that the last token of every row is the last column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.generation.graph_check import check_graph
from paring_runtimes.generation.language_model import LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INDICES = ("input_ids", "attention_mask", "position_ids")


class ConcatCache:
    """The cache of one batch. For one thread; the native session may be shared."""

    def __init__(self, native: NativeSession, model: LanguageModel, batch: int) -> None:
        self._native = native
        self._model = model
        self._batch = batch
        self._taken = {spec.name for spec in native.inputs}  # some graphs have no position_ids
        self._presents = model.cache_names("present")
        empty = np.zeros(model.cache_shape(batch, 0), model.dtype)
        self._past: dict[str, NDArray[Any]] = dict.fromkeys(model.cache_names("past_key_values"), empty)
        self._mask = np.zeros((batch, 0), np.int64)
        self.lengths = np.zeros(batch, np.int64)

    @property
    def buffers(self) -> Mapping[str, NDArray[Any]]:
        """The cache by input name, [batch, kv_heads, rows, head_dim]; anew after each step."""
        return self._past

    def prefill(self, prompts: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Read the prompts; return the logits after the last token of each, [batch, vocab]."""
        longest = max(map(len, prompts))
        ids = np.full((self._batch, longest), self._model.padding, np.int64)
        self._mask = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = prompt
            self._mask[row, longest - len(prompt) :] = 1
        self.lengths[:] = [len(prompt) for prompt in prompts]
        return self._run(ids, np.maximum(np.cumsum(self._mask, axis=1) - 1, 0))

    def step(self, tokens: Sequence[int | None]) -> NDArray[Any]:
        """Append one token a row; return the logits after it, [batch, vocab].

        None pads a row that is finished; its logits mean nothing.
        """
        live = np.array([token is not None for token in tokens])
        ids = [self._model.padding if token is None else token for token in tokens]
        self._mask = np.concatenate([self._mask, np.ones((self._batch, 1), np.int64)], axis=1)
        positions = np.where(live, self.lengths, self.lengths - 1)
        self.lengths += live
        return self._run(np.array(ids)[:, None], positions[:, None])

    def mark(self) -> Callable[[], None]:
        """Return a call that forgets every step since now; it holds on to the cache as it is now."""
        past, mask, lengths = self._past, self._mask, self.lengths.copy()

        def rewind() -> None:
            self._past, self._mask = past, mask
            self.lengths[:] = lengths

        return rewind

    def _run(self, ids: NDArray[Any], positions: NDArray[Any]) -> NDArray[Any]:
        feeds = dict(zip(_INDICES, (ids, self._mask, positions), strict=True))
        feeds = {name: value for name, value in feeds.items() if name in self._taken} | self._past
        logits, *presents = self._native.run(["logits", *self._presents], feeds)
        self._past = dict(zip(self._past, presents, strict=True))
        return logits[:, -1]


def check_concat(path: Path, native: NativeSession, model: LanguageModel) -> None:
    """Check that a graph takes and gives what this cache feeds.

    Raises:
        ArtifactError: a name, dtype or size differs.
    """
    pasts, presents = model.cache_names("past_key_values"), model.cache_names("present")
    positions = {"position_ids"} & {spec.name for spec in native.inputs}
    taken = {"input_ids", "attention_mask", *positions, *pasts}
    check_graph(path, native, model, taken, ["logits", *presents], pasts)
