"""A model that is open and ready to run: named numpy arrays in, named numpy arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import EngineError, InputError
from paring_runtimes.feeds import FeedCheck
from paring_runtimes.manifest import Manifest, TensorSpec
from paring_runtimes.suggest import near_miss

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Session:
    """An open model. Made by `load`; a context manager; `run` may be called from many threads.

    Attributes:
        path: the artifact's folder, or the model file.
        inputs: what `run` takes, in the model's order.
        outputs: what `run` gives, in the model's order.
        manifest: the artifact's manifest, None for a bare model file.
        engine: name and version of what computes, "onnxruntime 1.32.0".
        providers: the engine's backends in order of preference.
    """

    def __init__(
        self,
        native: NativeSession,
        path: Path,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        manifest: Manifest | None,
    ) -> None:
        self._native: NativeSession | None = native
        self._check = FeedCheck(inputs, scalars_known=manifest is not None)
        self._names = [spec.name for spec in outputs]
        self._profile: Path | None = None
        self.path = path
        self.inputs = inputs
        self.outputs = outputs
        self.manifest = manifest
        self.engine = native.version
        self.providers = native.providers

    def run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Compute the named outputs (all of them by default) for one set of inputs.

        Args:
            feeds: every input by name; dtype and shape as in `inputs`.
            outputs: names of the outputs wanted, at least one.

        Raises:
            InputError: a wrong name, dtype or shape.
            EngineError: the engine failed, or the session is closed.
        """
        native = self._native or self._refuse_closed()
        self._check(feeds)
        names = self._names if outputs is None else self._chosen(outputs)
        return dict(zip(names, native.run(names, feeds), strict=True))

    def bind(self, feeds: Mapping[str, NDArray[Any] | Sequence[int]]) -> BoundRun:
        """Bind reusable input and output buffers of fixed shapes; for tight loops.

        The model runs once here, to learn the shapes of its outputs (and to warm up).

        Args:
            feeds: for every input an example array, copied into the buffer, or a shape, whose
                buffer starts as zeros.

        Raises:
            InputError: a wrong name, dtype or shape.
            EngineError: the engine failed, or the session is closed.
        """
        native = self._native or self._refuse_closed()
        self._check.names(feeds)
        inputs = {n: _buffer(self._check.spec(n), value) for n, value in feeds.items()}
        self._check(inputs)
        produced = native.run(self._names, inputs)
        outputs = {n: np.array(a, order="C") for n, a in zip(self._names, produced, strict=True)}
        return BoundRun(self, native.bind(inputs, outputs), inputs, outputs)

    def run_on_device(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output of arrays with `__dlpack__`, where they lie, into arrays on the device.

        For engines that run on a device of their own (tensorrt). The outputs have `__dlpack__` too, and
        `numpy()`, which copies. Nothing is copied of what is on the device already.

        Raises:
            InputError: a wrong name, dtype, shape or device.
            EngineError: the engine failed, has no device of its own, or the session is closed.
        """
        native = self._native or self._refuse_closed()
        run = getattr(native, "run_on_device", None)
        if run is None:
            raise EngineError(f"{self.path}: {self.engine} has no device of its own: use run")
        found: dict[str, Any] = run(feeds)
        return found

    def end_profiling(self) -> Path:
        """Stop the engine's own profiler and return its file. For sessions with `profile_to`.

        Raises:
            EngineError: the session was opened without `profile_to`, or is closed.
        """
        if self._profile is None:
            self._profile = (self._native or self._refuse_closed()).end_profiling()
        return self._profile

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._native is None

    def close(self) -> None:
        """Let go of the model. Calls already running in other threads finish; new ones raise."""
        self._native = None

    def __enter__(self) -> Session:
        """Return the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return (
            f"<{type(self).__name__} {str(self.path)!r} on {self.engine}, {'+'.join(self.providers)}{state}>"
        )

    def _refuse_closed(self) -> NativeSession:
        raise EngineError(f"{self.path}: this session is closed; load it again")

    def _chosen(self, outputs: Sequence[str]) -> list[str]:
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        for name in names:
            if name not in self._names:
                raise InputError(
                    f"no output {name!r}{near_miss(name, self._names)}; "
                    f"expected some of {', '.join(map(repr, self._names))}"
                )
        if not names:
            raise InputError("outputs: expected at least one name, or None for all; given none")
        return names


class BoundRun:
    """Buffers bound to a session: fill `inputs`, call `run`, read `outputs`. For one thread.

    ::

        bound = session.bind({"pixels": (1, 3, 224, 224)})
        bound.inputs["pixels"][...] = image
        bound.run()
        print(bound.outputs["logits"])

    Attributes:
        inputs: buffers by name, written in place.
        outputs: buffers by name, overwritten by every `run`: copy what is to be kept.
    """

    def __init__(
        self,
        session: Session,
        execute: Callable[[], None],
        inputs: dict[str, NDArray[Any]],
        outputs: dict[str, NDArray[Any]],
    ) -> None:
        self._session = session
        self._execute = execute
        self.inputs: Mapping[str, NDArray[Any]] = MappingProxyType(inputs)
        self.outputs: Mapping[str, NDArray[Any]] = MappingProxyType(outputs)

    def run(self) -> Mapping[str, NDArray[Any]]:
        """Compute every output from what the input buffers hold now; return `outputs`.

        Raises:
            EngineError: the engine failed (also when an output's shape depends on the inputs'
                values and so does not fit its buffer), or the session is closed.
        """
        if self._session.closed:
            self._session._refuse_closed()
        self._execute()
        return self.outputs


def _buffer(spec: TensorSpec, value: NDArray[Any] | Sequence[int]) -> NDArray[Any]:
    """Return a new C-contiguous array: a copy of an example, or zeros of a shape."""
    if isinstance(value, np.ndarray):
        return np.array(value, order="C")
    try:
        return np.zeros(tuple(value), dtype=spec.dtype)
    except (TypeError, ValueError):
        raise InputError(
            f"input {spec.name!r}: expected an example array or a shape of whole numbers, given {value!r}"
        ) from None
