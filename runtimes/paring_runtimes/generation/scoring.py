"""How likely a model finds given continuations of a prompt, which it reads only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.generation.batch_run import BatchRun, Cache

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """What a model says of the continuations of one prompt.

    Attributes:
        log_likelihoods: of each continuation, given the prompt: the sum of log p over its tokens, in nats.
        token_counts: tokens of each continuation; divide by them to compare lengths.
        prompt_length: tokens of the prompt.
        prompt_ms: from the call to the logits after the prompt.
        kept: places in the prompt of the tokens that the model read; None when it read all of them
            without a filter.
        kept_text: their text.
        filter_ms: how long the filter took; a part of `prompt_ms`.
    """

    log_likelihoods: tuple[float, ...]
    token_counts: tuple[int, ...]
    prompt_length: int
    prompt_ms: float
    kept: tuple[int, ...] | None = None
    kept_text: str | None = None
    filter_ms: float | None = None


def score(run: BatchRun, continuations: Sequence[Sequence[int]]) -> Scores:
    """Read the prompt of a run of one row; then every continuation from there on.

    Raises:
        EngineError: the logits are not finite.
    """
    (row,) = run.rows
    row.shorten()
    after_prompt = log_probabilities(run.cache.prefill([row.read])[0])
    prompt_ms = (perf_counter_ns() - run.begin_ns) / 1e6
    found = _sums(run.cache, after_prompt, continuations)
    counts = tuple(map(len, continuations))
    kept, kept_text, filter_ms = row.reading()
    return Scores(found, counts, len(row.prompt), prompt_ms, kept, kept_text, filter_ms)


def _sums(
    cache: Cache, logs: NDArray[np.float64], continuations: Sequence[Sequence[int]]
) -> tuple[float, ...]:
    """Sum log p over each continuation; tokens with which several begin are read once.

    `logs` is log p of the first tokens, [vocab].
    """
    found = [0.0] * len(continuations)
    pending: list[tuple[Callable[[], None], int, list[int], int]] = []  # rewind, read, whose, how deep
    here, whose, depth = cache.mark(), list(range(len(continuations))), 0
    while True:
        for token, sharing in _by_token(continuations, whose, depth).items():
            for index in sharing:
                found[index] += float(logs[token])
            longer = [index for index in sharing if len(continuations[index]) > depth + 1]
            if longer:
                pending.append((here, token, longer, depth + 1))
        if not pending:
            return tuple(found)
        rewind, token, whose, depth = pending.pop()
        rewind()
        logs = log_probabilities(cache.step([token])[0])
        here = cache.mark()


def _by_token(
    continuations: Sequence[Sequence[int]], whose: Sequence[int], depth: int
) -> dict[int, list[int]]:
    """Indices of continuations by their token at `depth`."""
    groups: dict[int, list[int]] = {}
    for index in whose:
        groups.setdefault(continuations[index][depth], []).append(index)
    return groups


def log_probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return log p of every token, [vocab], from its logits.

    Raises:
        EngineError: they hold a NaN, or nothing finite.
    """
    scores = logits.astype(np.float64)
    scores -= scores.max()
    scores -= np.log(np.exp(scores).sum())
    if np.isnan(scores).any():
        raise EngineError(f"the model's logits are not finite (the largest is {logits.max()})")
    return scores
