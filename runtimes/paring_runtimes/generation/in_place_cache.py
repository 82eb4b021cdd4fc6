"""A key-value cache that the graph writes into: no step copies it.

A row of the batch is one prompt; its tokens lie in the cache's rows 0, 1, 2, ... A query written at
row s sees rows up to s, so what right padding writes beyond the end of a short prompt is written over
before it is seen.

Layers may hold differing numbers of rows where a prompt's tokens were dropped on the way. Layers of equally
many are a group, and each group has slots of its own; there is one group in most models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.generation.graph_check import check_graph
from paring_runtimes.generation.language_model import LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEP_ROWS = 64  # capacities are multiples of this
_AHEAD_ROWS = 256  # new tokens that room is made for at once: a step reads its whole capacity
CHUNK = 512  # tokens of a prompt at once, at most
_LEAST_CHUNK = 128  # fewer at once take more time
_SCORES = (
    512 * 4096
)  # a head's attention scores at once, [chunk, capacity]: chunks of long prompts are shorter
_INDICES = ("input_ids", "positions", "last")


class InPlaceCache:
    """The cache of one batch. For one thread; the native session may be shared.

    Each buffer is bound as the graph's input and as its output. Growing is the only time that it is copied:
    a run reads the whole capacity, so that buffers are little longer than what they hold.

    Args:
        native: the in-place graph.
        model: its facts.
        batch: how many prompts.
        new_tokens: how many tokens will follow the prompts at most.

    Attributes:
        buffers: the cache by input name, [batch, kv_heads, capacity, head_dim].
        lengths: tokens read, by row of the batch.
        rows: rows of the cache that are held, [groups, batch].
    """

    def __init__(self, native: NativeSession, model: LanguageModel, batch: int, new_tokens: int = 1) -> None:
        self._native = native
        self._model = model
        self._batch = batch
        self._new_tokens = new_tokens
        self._groups = model.groups
        self._slots = model.slot_names()
        self._capacities = [0] * len(self._slots)
        self._names = dict(zip(model.cache_names("cache"), model.cache_names("updated"), strict=True))
        self._logits_dtype = next(spec.dtype for spec in native.outputs if spec.name == "logits")
        self._step: _Call | None = None
        self.buffers: dict[str, NDArray[Any]] = {}
        self.lengths = np.zeros(batch, np.int64)
        self.rows = np.zeros((len(self._slots), batch), np.int64)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Read the prompts; return the logits after the last token of each, [batch, vocab]."""
        longest = max(map(len, prompts))
        padded = np.full((self._batch, longest), self._model.padding, np.int64)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt)] = prompt
        self.lengths[:] = self.rows[:] = [len(prompt) for prompt in prompts]
        logits = np.zeros((self._batch, self._model.vocab_size), self._logits_dtype)
        for start, tokens, capacity in reading_plan(longest, self._new_tokens):
            self._lengthen([capacity] * len(self._slots))
            ids = padded[:, start : start + tokens]
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

    def _reserve(self, rows: NDArray[np.int64]) -> None:
        """Make the buffers of each group long enough for its `rows`."""
        pairs = zip(self._capacities, rows.tolist(), strict=True)
        wanted = [grown(held, count) for held, count in pairs]
        if wanted != self._capacities:
            self._lengthen(wanted)

    def _lengthen(self, capacities: list[int]) -> None:
        """Give the buffers of each group a capacity, by a copy where it is greater."""
        self._capacities = capacities
        for index, name in enumerate(self._names):
            old, capacity = self.buffers.get(name), capacities[self._groups[index // 2]]
            if old is not None and capacity <= old.shape[2]:
                continue
            self.buffers[name] = lengthened(old, self._model, self._batch, capacity)
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


def lengthened(old: NDArray[Any] | None, model: LanguageModel, batch: int, capacity: int) -> NDArray[Any]:
    """Return a buffer of so many rows that begins with what `old` holds."""
    buffer: NDArray[Any] = np.zeros(model.cache_shape(batch, capacity), model.dtype)
    if old is not None:
        buffer[:, :, : old.shape[2]] = old
    return buffer


def grown(held: int, rows: int) -> int:
    """The capacity of a buffer of `held` rows that must hold `rows`: a quarter more when it has to grow."""
    if rows <= held:
        return held
    return -(-max(rows, held * 5 // 4) // _STEP_ROWS) * _STEP_ROWS


def room(new_tokens: int) -> int:
    """Rows that are made ready behind a prompt."""
    return max(1, min(new_tokens, _AHEAD_ROWS))


def reading_plan(longest: int, new_tokens: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first token, tokens, capacity) of the pieces in which a prompt is read.

    The capacity grows along: early pieces need not attend to rows that are still empty.
    """
    capacity, start, tokens = 0, 0, CHUNK
    while start < longest:
        while tokens > _LEAST_CHUNK and tokens * (start + tokens) > _SCORES:
            tokens //= 2
        stop = min(start + tokens, longest)
        capacity = grown(capacity, stop + room(new_tokens)) if stop == longest else grown(capacity, stop)
        yield start, stop - start, capacity
        start = stop


def check_in_place(path: Path, native: NativeSession, model: LanguageModel) -> None:
    """Check that a graph takes and gives what this cache binds.

    Raises:
        ArtifactError: a name, dtype or size differs.
    """
    caches, updated = model.cache_names("cache"), model.cache_names("updated")
    check_graph(path, native, model, {*_INDICES, *model.slot_names(), *caches}, ["logits", *updated], caches)
