"""A native session that is opened when it is first run: two graphs of one model would double its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from paring_runtimes.engines import NativeSession
from paring_runtimes.manifest import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DeferredSession:
    """Fulfils `paring_runtimes.engines.NativeSession` by one that `open_it` returns.

    Args:
        open_it: opens the model and checks it; called once, when something is computed.
        like: a session of the same engine, which is open; its profiler stands for both.
        inputs: what the model takes, as the manifest tells.
        outputs: what the model gives.
    """

    def __init__(
        self,
        open_it: Callable[[], NativeSession],
        like: NativeSession,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
    ) -> None:
        self._open_it = open_it
        self._like = like
        self._lock = Lock()
        self._native: NativeSession | None = None
        self.version = like.version
        self.providers = like.providers
        self.inputs = inputs
        self.outputs = outputs

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`."""
        return self.open().run(names, feeds)

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Return a call that computes `outputs` from `inputs`, both in place."""
        return self.open().bind(inputs, outputs)

    def end_profiling(self) -> Path:
        """Stop the profiler of the graph that is open from the beginning."""
        return self._like.end_profiling()

    def open(self) -> NativeSession:
        """Open the model if that is still to do; for callers that time what follows."""
        with self._lock:
            if self._native is None:
                self._native = self._open_it()
            return self._native
