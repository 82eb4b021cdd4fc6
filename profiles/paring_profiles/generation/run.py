"""One answer of a language model, each phase timed, and what its cache held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles.generation.prompts import ask
from paring_profiles.result import Settings
from paring_runtimes import GenerativeSession, Session
from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import InputError
from paring_runtimes.generation.concat_cache import ConcatCache
from paring_runtimes.generation.image_cache import ImageCache
from paring_runtimes.generation.image_graphs import ImageGraphs
from paring_runtimes.generation.in_place_cache import InPlaceCache
from paring_runtimes.generation.options import Options
from paring_runtimes.generation.prompt_filter import PromptFilter
from paring_runtimes.generation.state_cache import StateCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    AnyCache = InPlaceCache | ConcatCache | StateCache

_SHORT_PROMPT, _SHORT_ANSWER = 8, 4


@dataclass(frozen=True)
class Held:
    """A cache at one moment: of each layer the rows of the longest prompt and the rows that fit.

    A state has no rows, and `rows_bytes` is its size.
    """

    rows: list[int]
    capacity: list[int]
    rows_bytes: int
    buffer_bytes: int


@dataclass(frozen=True)
class Answer:
    """One turn. `phases_ms` is by phase, of the whole batch; `steps_ms` holds every decode step.

    `kept` is what a filter left of each prompt, its places; None where it did not run.
    """

    phases_ms: dict[str, float]
    steps_ms: list[float]
    tokens: list[list[int]]
    read: list[list[int]]
    kept: tuple[int, ...] | None
    after_prompt: Held
    at_end: Held


@dataclass
class Stopwatch:
    """A native session that adds up the time of its runs, ns."""

    inner: NativeSession
    spent_ns: int = 0
    version: str = field(init=False)
    providers: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.version, self.providers = self.inner.version, self.inner.providers
        self.inputs, self.outputs = self.inner.inputs, self.inner.outputs

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`."""
        begin_ns = perf_counter_ns()
        found = self.inner.run(names, feeds)
        self.spent_ns += perf_counter_ns() - begin_ns
        return found

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """As of the session within; not timed."""
        return self.inner.bind(inputs, outputs)

    def end_profiling(self) -> Any:
        """As of the session within."""
        return self.inner.end_profiling()


class AnswerRun:
    """Answers the same prompts again and again: greedily, `new_tokens` of them, whatever they are.

    Args:
        session: an open language model.
        batch: how many prompts.
        prompt_tokens: of text, each.
        settings: seed, new tokens, text and image.

    Raises:
        InputError: no language model, or prompts that it does not read.
    """

    def __init__(self, session: Session, batch: int, prompt_tokens: int, settings: Settings) -> None:
        if not isinstance(session, GenerativeSession):
            raise InputError(f"{session.path}: not a language model's artifact: it cannot be asked")
        self.session, self.batch, self.prompt_tokens = session, batch, prompt_tokens
        self.new_tokens = settings.new_tokens
        self.model, self.graphs = session.model, session.open_graphs()
        self.asked = ask(session, batch, prompt_tokens, settings)
        self._settings = settings
        self._filter = self._opened_filter()

    def _opened_filter(self) -> PromptFilter | None:
        layers = self.graphs.chooser
        if layers is None or self.prompt_tokens <= layers.facts.k:
            return None
        return PromptFilter(layers, Options())

    def __call__(self) -> Answer:
        """Answer once."""
        begin_ns = perf_counter_ns()
        kept, read = self._shortened()
        filtered_ns = perf_counter_ns()
        cache, watches = self._new_cache()
        logits = cache.prefill(read)
        tokens = [logits.argmax(axis=1).tolist()]
        first_ns = perf_counter_ns()
        after_prompt = held(cache, self.session)
        steps_ms = []
        for _ in range(self.new_tokens - 1):
            step_ns = perf_counter_ns()
            tokens.append(cache.step(tokens[-1]).argmax(axis=1).tolist())
            steps_ms.append((perf_counter_ns() - step_ns) / 1e6)
        apart = {phase: watch.spent_ns for phase, watch in watches.items()}
        spent_ns = sum(apart.values())
        phases = {"first_token": first_ns - begin_ns, "prefill": first_ns - filtered_ns - spent_ns, **apart}
        phases |= {} if kept is None else {"filter": filtered_ns - begin_ns}
        phases_ms = {name: spent / 1e6 for name, spent in phases.items()}
        return Answer(phases_ms, steps_ms, tokens, read, kept, after_prompt, held(cache, self.session))

    def short(self) -> AnswerRun:
        """Return the same with a prompt and an answer of a few tokens: to wake the model up."""
        tokens = min(_SHORT_PROMPT, self.prompt_tokens)
        few = replace(self._settings, new_tokens=min(_SHORT_ANSWER, self.new_tokens))
        return AnswerRun(self.session, self.batch, tokens, few)

    def _shortened(self) -> tuple[tuple[int, ...] | None, list[list[int]]]:
        """What the filter keeps of the first prompt, and what is read of every one."""
        prompts = self.asked.prompts
        if self._filter is None:
            return None, prompts
        kept = [self._filter.columns(prompt) for prompt in prompts]
        return kept[0], [[p[c] for c in columns] for p, columns in zip(prompts, kept, strict=True)]

    def _new_cache(self) -> tuple[AnyCache, dict[str, Stopwatch]]:
        """A cache, and what times the graphs before the prompt's, by phase."""
        in_place, image, pixels = self.graphs.in_place, self.graphs.image, self.asked.pixels
        if self.model.state is not None:
            return StateCache(self.graphs.entry, self.model, self.batch), {}
        if in_place is None:
            return ConcatCache(self.graphs.entry, self.model, self.batch), {}
        if image is None or pixels is None:
            return InPlaceCache(in_place, self.model, self.batch, self.new_tokens), {}
        every = {"encoder": image.encoder, "question": image.question, "compressor": image.compressor}
        watches = {phase: Stopwatch(graph) for phase, graph in every.items() if graph is not None}
        graphs = ImageGraphs(
            watches["encoder"],
            image.embed,
            image.prefill,
            watches.get("question"),
            watches.get("compressor"),
        )
        return ImageCache(in_place, self.model, graphs, pixels, self.batch, self.new_tokens), watches


def held(cache: AnyCache, session: GenerativeSession) -> Held:
    """Return what a cache holds now."""
    buffers = list(cache.buffers.values())
    if isinstance(cache, StateCache):
        none = [0] * session.model.layers
        return Held(none, none, sum(buffer.nbytes for buffer in buffers), cache.buffer_bytes)
    capacity = [buffer.shape[2] for buffer in buffers[::2]]
    if isinstance(cache, InPlaceCache):
        rows: NDArray[np.int64] = cache.rows[list(session.model.groups)]  # [layers, batch]
    else:
        rows = np.array(capacity)[:, None].repeat(len(buffers[0]), axis=1)
    row_bytes = buffers[0][0, :, :1].nbytes
    return Held(
        rows=rows.max(axis=1).tolist(),
        capacity=capacity,
        rows_bytes=int(rows.sum()) * 2 * row_bytes,
        buffer_bytes=sum(buffer.nbytes for buffer in buffers),
    )
