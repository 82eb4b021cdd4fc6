"""A key-value cache that the graph writes into: no step copies it.

A row of the batch is one prompt; its tokens lie in the cache's rows 0, 1, 2, ... A query written at
row s sees rows up to s, so what right padding writes beyond the end of a short prompt is written over
before it is seen.

Layers may hold differing numbers of rows where a prompt's tokens were dropped on the way. Layers of equally
many are a group, and each group has slots of its own; there is one group in most models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.generation.graph_check import check_graph
from paring_runtimes.generation.language_model import LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_ROWS = 64
CHUNK = 512  # tokens of a prompt at once: bounds the attention scores, [heads, chunk, capacity]
_INDICES = ("input_ids", "positions", "last")


class InPlaceCache:
    """The cache of one batch. For one thread; the native session may be shared.

    Each buffer is bound as the graph's input and as its output. A buffer's length is a power of two;
    growing past it is the only time that it is copied.

    Attributes:
        buffers: the cache by input name, [batch, kv_heads, capacity, head_dim].
        lengths: tokens read, by row of the batch.
        rows: rows of the cache that are held, [groups, batch].
    """

    def __init__(self, native: NativeSession, model: LanguageModel, batch: int) -> None:
        self._native = native
        self._model = model
        self._batch = batch
        self._groups = model.groups
        self._slots = model.slot_names()
        self._names = dict(zip(model.cache_names("cache"), model.cache_names("updated"), strict=True))
        self._logits_dtype = next(spec.dtype for spec in native.outputs if spec.name == "logits")
        self._step: _Call | None = None
        self.buffers: dict[str, NDArray[Any]] = {}
        self.lengths = np.zeros(batch, np.int64)
        self.rows = np.zeros((len(self._slots), batch), np.int64)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Read the prompts; return the logits after the last token of each, [batch, vocab]."""
        longest = max(map(len, prompts))
        self._reserve(longest + 1)
        padded = np.full((self._batch, longest), self._model.padding, np.int64)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt)] = prompt
        self.lengths[:] = self.rows[:] = [len(prompt) for prompt in prompts]
        logits = np.zeros((self._batch, self._model.vocab_size), self._logits_dtype)
        for start in range(0, longest, CHUNK):
            ids = padded[:, start : start + CHUNK]
            last = self.lengths - 1 - start
            call, places = self._bind(ids.shape[1]), start + np.arange(ids.shape[1])
            slots = [places] * len(self._slots)
            found = call(ids, places, np.clip(last, 0, ids.shape[1] - 1), slots)
            ends_here = (last >= 0) & (last < ids.shape[1])
            logits[ends_here] = found[ends_here]
        return logits

    def step(self, tokens: Sequence[int | None]) -> NDArray[Any]:
        """Append one token a row; return the logits after it, [batch, vocab], good until the next step.

        None leaves a row that is finished as it is; its logits mean nothing.
        """
        self._reserve(self.rows.max(axis=1) + 1)
        if self._step is None:
            self._step = self._bind(1)
        live = np.array([token is not None for token in tokens])
        ids = [self._model.padding if token is None else token for token in tokens]
        places, slots = (np.where(live, held, held - 1)[..., None] for held in (self.lengths, self.rows))
        self.lengths += live
        self.rows += live
        return self._step(np.array(ids)[:, None], places, np.zeros(self._batch, np.int64), slots)

    def mark(self) -> Callable[[], None]:
        """Return a call that forgets every step since now: its rows are written over before they are seen."""
        lengths, rows = self.lengths.copy(), self.rows.copy()

        def rewind() -> None:
            self.lengths[:], self.rows[:] = lengths, rows

        return rewind

    def _reserve(self, rows: int | NDArray[Any]) -> None:
        """Make the buffers of each group long enough, by a copy into some of a greater power of two."""
        wanted = np.broadcast_to(rows, len(self._slots))
        for index, name in enumerate(self._names):
            self._lengthen(name, int(wanted[self._groups[index // 2]]))

    def _lengthen(self, name: str, rows: int) -> None:
        held = self.buffers[name].shape[2] if name in self.buffers else 0
        if rows > held:
            capacity = max(_LEAST_ROWS, 1 << (rows - 1).bit_length())
            buffer = np.zeros(self._model.cache_shape(self._batch, capacity), self._model.dtype)
            if held:
                buffer[:, :, :held] = self.buffers[name]
            self.buffers[name] = buffer
            self._step = None

    def _bind(self, length: int) -> _Call:
        shape = (self._batch, length)
        indices: dict[str, NDArray[Any]] = {n: np.zeros(shape, np.int64) for n in _INDICES}
        indices["last"] = np.zeros(self._batch, np.int64)
        slots: dict[str, NDArray[Any]] = {n: np.zeros(shape, np.int64) for n in self._slots}
        logits = np.zeros((self._batch, self._model.vocab_size), self._logits_dtype)
        updated = {self._names[name]: buffer for name, buffer in self.buffers.items()}
        execute = self._native.bind({**indices, **slots, **self.buffers}, {"logits": logits, **updated})
        return _Call([*indices.values(), *slots.values()], logits, execute)


class _Call:
    """A bound run for one number of tokens: its small buffers, and the call."""

    def __init__(
        self, indices: list[NDArray[Any]], logits: NDArray[Any], execute: Callable[[], None]
    ) -> None:
        self._indices = indices
        self._logits = logits
        self._execute = execute

    def __call__(
        self,
        ids: NDArray[Any],
        positions: NDArray[Any],
        last: NDArray[Any],
        slots: Sequence[NDArray[Any]] | NDArray[Any],
    ) -> NDArray[Any]:
        for buffer, value in zip(self._indices, (ids, positions, last, *slots), strict=True):
            buffer[...] = value
        self._execute()
        return self._logits


def check_in_place(path: Path, native: NativeSession, model: LanguageModel) -> None:
    """Check that a graph takes and gives what this cache binds.

    Raises:
        ArtifactError: a name, dtype or size differs.
    """
    caches, updated = model.cache_names("cache"), model.cache_names("updated")
    check_graph(path, native, model, {*_INDICES, *model.slot_names(), *caches}, ["logits", *updated], caches)
