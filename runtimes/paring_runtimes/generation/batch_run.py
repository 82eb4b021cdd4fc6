"""One batch of prompts being answered: rows, their cache, and the rounds that give each a token."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from paring_runtimes.generation.row import Generation, Row

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Cache(Protocol):
    """A key-value cache with its graph: `InPlaceCache` or `ConcatCache`."""

    def prefill(self, prompts: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Read the prompts; return the logits after the last token of each, [batch, vocab]."""
        ...

    def step(self, tokens: Sequence[int | None]) -> NDArray[Any]:
        """Append one token a row, None where the row is finished; return the logits after it."""
        ...

    def mark(self) -> Callable[[], None]:
        """Return a call that forgets every step since now; it may be called again and again."""
        ...


class BatchRun:
    """Runs once. For one thread.

    Args:
        rows: one a prompt.
        cache: new, for as many rows.
        begin_ns: when the call began, by `time.perf_counter_ns`.
    """

    def __init__(self, rows: list[Row], cache: Cache, begin_ns: int) -> None:
        self.rows = rows
        self.cache = cache
        self.begin_ns = begin_ns

    def rounds(self) -> Generator[list[str], None, None]:
        """Take one token a row and yield the new text of each, until every row is finished."""
        for row in self.rows:
            row.shorten()
        logits = self.cache.prefill([row.read for row in self.rows])
        while True:
            yield [row.take(scores) for row, scores in zip(self.rows, logits, strict=True)]
            tokens = [row.next_token for row in self.rows]
            if all(token is None for token in tokens):
                return
            logits = self.cache.step(tokens)

    def pieces(self) -> Generator[str, None, Generation]:
        """Yield the new text of a single row as it comes; return its result."""
        for (piece,) in self.rounds():
            if piece:
                yield piece
        return self.results()[0]

    def results(self) -> list[Generation]:
        """Return what was generated, once every row is finished."""
        return [row.result(self.begin_ns) for row in self.rows]
