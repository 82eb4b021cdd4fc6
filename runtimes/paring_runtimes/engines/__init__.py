"""Engines: what computes an artifact. One file an engine, found by its file name.

An engine's module has

- `NAME`, the same as its file;
- `FORMATS`, which formats it runs, each with the suffix of a bare model file: `{"onnx": ".onnx"}`;
- `why_not()`, None when it works here, otherwise one line that says what would mend it;
- `open_session(path, options)`, which returns a `NativeSession`.

Importing the module must not import the engine's library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from paring_runtimes.manifest import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Options:
    """How a model is opened.

    Attributes:
        threads: threads inside one operator; None leaves it to the engine (one a physical core).
        providers: the engine's backends in order of preference; None means the CPU.
        provider_options: settings by provider's name.
        profile_to: start of the engine's own profile's path; None for no profile.
        brief: whether the session is closed after a few runs, so that an engine need not prepare the weights,
            which takes time and a copy of them.
    """

    threads: int | None = None
    providers: tuple[str, ...] | None = None
    provider_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    profile_to: Path | None = None
    brief: bool = False


class NativeSession(Protocol):
    """An open model as its engine sees it. Every failure is an `EngineError`."""

    version: str  # "onnxruntime 1.32.0"
    providers: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`. Feeds are right; called from several threads at once."""
        ...

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Return a call that computes `outputs` from `inputs`, both in place, C-contiguous."""
        ...

    def end_profiling(self) -> Path:
        """Stop the engine's profiler, return its file."""
        ...


class Engine(Protocol):
    """A module of this folder."""

    NAME: str
    FORMATS: Mapping[str, str]

    def why_not(self) -> str | None:
        """Return None when the engine works here, otherwise one line: what would mend it."""
        ...

    def open_session(self, path: Path, options: Options) -> NativeSession:
        """Open a model file."""
        ...


def engines() -> dict[str, Engine]:
    """Return every engine by name, in alphabetical order."""
    import importlib
    import pkgutil

    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: cast(Engine, importlib.import_module(f"{__name__}.{name}")) for name in names}
