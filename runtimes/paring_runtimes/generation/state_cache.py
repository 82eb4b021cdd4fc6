"""The state of a recurrent language model: a few tensors of fixed size instead of keys and values.

The graph reads one token a run. It is bound twice, from one set of buffers into another and back, so that a
run copies no state, and no text, however long, needs more memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import ArtifactError
from paring_runtimes.feeds import shape_text
from paring_runtimes.generation.language_model import LanguageModel
from paring_runtimes.generation.state_facts import StateFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray


class StateCache:
    """The state of one batch. For one thread; the native session may be shared.

    Args:
        native: the graph.
        model: its facts.
        batch: how many prompts.
    """

    def __init__(self, native: NativeSession, model: LanguageModel, batch: int) -> None:
        facts = facts_of(model)
        shape = (model.layers, batch, facts.width)
        self._padding = model.padding
        self._initial = [value for _, value in facts.initial]
        self._ids = np.zeros(batch, np.int64)
        self._logits = np.zeros((batch, model.vocab_size), logits_dtype(native))
        self._sets = [[np.zeros(shape, model.dtype) for _ in facts.initial] for _ in range(2)]
        names = facts.names("state"), facts.names("updated")
        self._calls = [self._bound(native, names, own) for own in (self._sets, self._sets[::-1])]
        self._names = names[0]
        self._turn = 0  # which set holds the state
        self._reset(slice(None))

    @property
    def buffers(self) -> Mapping[str, NDArray[Any]]:
        """The state by input name, [layers, batch, width], good until the next step."""
        return dict(zip(self._names, self._sets[self._turn], strict=True))

    @property
    def buffer_bytes(self) -> int:
        """Bytes of both sets of buffers."""
        return sum(buffer.nbytes for own in self._sets for buffer in own)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Read the prompts token by token; return the logits after the last of each, [batch, vocab].

        Prompts end together: a shorter one begins later, and its state is empty until then.
        """
        longest = max(map(len, prompts))
        starts = [longest - len(prompt) for prompt in prompts]
        for place in range(longest):
            for row, prompt in enumerate(prompts):
                if place == starts[row]:
                    self._reset(row)
                self._ids[row] = prompt[place - starts[row]] if place >= starts[row] else self._padding
            self._run()
        return self._logits

    def step(self, tokens: Sequence[int | None]) -> NDArray[Any]:
        """Read one token a row; return the logits after it, [batch, vocab], good until the next step.

        None feeds a row that is finished with padding; its logits mean nothing.
        """
        self._ids[:] = [self._padding if token is None else token for token in tokens]
        self._run()
        return self._logits

    def mark(self) -> Callable[[], None]:
        """Return a call that forgets every step since now; it holds a copy of the state as it is now."""
        kept = [buffer.copy() for buffer in self._sets[self._turn]]

        def rewind() -> None:
            for buffer, value in zip(self._sets[self._turn], kept, strict=True):
                buffer[...] = value

        return rewind

    def _run(self) -> None:
        self._calls[self._turn]()
        self._turn = 1 - self._turn

    def _reset(self, row: int | slice) -> None:
        for buffer, value in zip(self._sets[self._turn], self._initial, strict=True):
            buffer[:, row] = value

    def _bound(
        self, native: NativeSession, names: tuple[list[str], list[str]], sets: list[list[NDArray[Any]]]
    ) -> Callable[[], None]:
        given, made = (dict(zip(own, buffers, strict=True)) for own, buffers in zip(names, sets, strict=True))
        return native.bind({"input_ids": self._ids, **given}, {"logits": self._logits, **made})


def facts_of(model: LanguageModel) -> StateFacts:
    """Return what the manifest says of the state; the model has one."""
    assert model.state is not None
    return model.state


def logits_dtype(native: NativeSession) -> str:
    """Return the dtype of a graph's logits."""
    return next(spec.dtype for spec in native.outputs if spec.name == "logits")


def check_state(path: Path, native: NativeSession, model: LanguageModel) -> None:
    """Check that a graph takes and gives what this cache binds.

    Raises:
        ArtifactError: a name, dtype or size differs.
    """
    facts = facts_of(model)
    states, updated = facts.names("state"), facts.names("updated")
    taken = {spec.name: spec for spec in native.inputs}
    given = {spec.name for spec in native.outputs}
    differing = sorted((set(taken) ^ {"input_ids", *states}) | ({"logits", *updated} - given))
    if differing:
        raise ArtifactError(f"{path}: not the graph of its state; missing or unknown: {', '.join(differing)}")
    for name in states:
        spec = taken[name]
        sizes = zip(spec.shape, (model.layers, None, facts.width), strict=False)
        fits = all(told is None or not isinstance(real, int) or real == told for real, told in sizes)
        if spec.dtype != model.dtype or len(spec.shape) != 3 or not fits:
            raise ArtifactError(
                f"{path}: {name!r} is {spec.dtype} {shape_text(spec.shape)}; expected {model.dtype} "
                f"({model.layers}, batch, {facts.width})"
            )
