"""The state of one prompt while its answer is made, and what is returned of it."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from paring_runtimes.generation.detokenizer import Detokenizer
from paring_runtimes.generation.options import Options
from paring_runtimes.generation.prompt_filter import PromptFilter
from paring_runtimes.generation.sampling import choose
from paring_runtimes.generation.stop import StopMatcher

if TYPE_CHECKING:
    from numpy.typing import NDArray

FinishReason = Literal["eos", "stop", "length"]


@dataclass(frozen=True)
class Generation:
    """What was generated for one prompt.

    Attributes:
        text: the new text, without the prompt, special tokens and the stop string.
        token_ids: every new token, those of the stop string and the end token included.
        finish_reason: "eos" (the model ended), "stop" (a stop string), "length" (`max_new_tokens`, or
            the model has no further position).
        prompt_length: tokens of the prompt.
        first_token_ms: from the call to the first token of the batch.
        decode_ms_per_token: mean over the tokens after the first, of the steps of the whole batch;
            None when there is one token only.
        kept: places in the prompt of the tokens that the model read; None when it read all of them
            without a filter.
        kept_text: their text.
        filter_ms: how long the filter took, for this prompt; a part of `first_token_ms`.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_length: int
    first_token_ms: float
    decode_ms_per_token: float | None
    kept: tuple[int, ...] | None = None
    kept_text: str | None = None
    filter_ms: float | None = None


class Row:
    """One prompt's answer so far: its tokens, its randomness, its text.

    Args:
        prompt: token ids.
        limit: the most tokens to generate.
        options: how to choose and where to stop.
        draw: this row's own randomness.
        ends: ids that end the answer.
        detokenizer: for this prompt.
        chooser: what shortens this prompt, or None.

    Attributes:
        limit: as given.
        read: the ids that the model reads: the prompt, or what `shorten` left of it.
    """

    def __init__(
        self,
        prompt: list[int],
        limit: int,
        options: Options,
        draw: np.random.Generator,
        ends: tuple[int, ...],
        detokenizer: Detokenizer,
        chooser: PromptFilter | None = None,
    ) -> None:
        self.prompt = self.read = prompt
        self._chooser = chooser
        self._kept: tuple[int, ...] | None = None
        self._filter_ms: float | None = None
        self.limit = limit
        self._options = options
        self._draw = draw
        self._ends = ends
        self._detokenizer = detokenizer
        self._stops = StopMatcher(options.stop)
        self._seen = set(prompt)
        self._tokens: list[int] = []
        self._pieces: list[str] = []
        self._first_ns = self._last_ns = 0
        self.finish_reason: FinishReason | None = None

    @property
    def next_token(self) -> int | None:
        """The token to read next, None when the row is finished."""
        return None if self.finish_reason else self._tokens[-1]

    def shorten(self) -> None:
        """Let the filter choose what is read of the prompt."""
        if self._chooser is None:
            return
        begin_ns = perf_counter_ns()
        self._kept = self._chooser.columns(self.prompt)
        self.read = [self.prompt[column] for column in self._kept]
        self._filter_ms = (perf_counter_ns() - begin_ns) / 1e6

    def reading(self) -> tuple[tuple[int, ...] | None, str | None, float | None]:
        """Return which tokens were read, their text, and how long the filter took; None without a filter."""
        text = None if self._kept is None else self._detokenizer.whole(self.read)
        return self._kept, text, self._filter_ms

    def take(self, logits: NDArray[Any]) -> str:
        """Choose the next token from logits [vocab]; return the text that is certain with it."""
        if self.finish_reason:
            return ""
        token = choose(logits, self._seen, self._options, self._draw)
        self._tokens.append(token)
        self._seen.add(token)
        piece = self._text_of(token)
        self._pieces.append(piece)
        self._last_ns = perf_counter_ns()
        self._first_ns = self._first_ns or self._last_ns
        return piece

    def _text_of(self, token: int) -> str:
        if token in self._ends:
            self.finish_reason = "eos"
            return self._stops.finish()
        piece = self._stops.feed(self._detokenizer.add(token))
        if self._stops.found is not None:
            self.finish_reason = "stop"
        elif len(self._tokens) == self.limit:
            self.finish_reason = "length"
            piece += self._stops.finish()
        return piece

    def result(self, begin_ns: int) -> Generation:
        """Return the finished row; `begin_ns` is when its batch began."""
        assert self.finish_reason
        steps = len(self._tokens) - 1
        kept, kept_text, filter_ms = self.reading()
        return Generation(
            text="".join(self._pieces),
            token_ids=tuple(self._tokens),
            finish_reason=self.finish_reason,
            prompt_length=len(self.prompt),
            first_token_ms=(self._first_ns - begin_ns) / 1e6,
            decode_ms_per_token=(self._last_ns - self._first_ns) / 1e6 / steps if steps else None,
            kept=kept,
            kept_text=kept_text,
            filter_ms=filter_ms,
        )
