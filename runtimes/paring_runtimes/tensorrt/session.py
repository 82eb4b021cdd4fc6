"""A TensorRT engine as a session: several contexts for several threads, graphs where shapes are fixed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.cuda.array import DeviceArray, upload
from paring_runtimes.cuda.calls import checked, cudart
from paring_runtimes.cuda.dlpack import CPU, PINNED, take
from paring_runtimes.errors import EngineError, InputError
from paring_runtimes.tensorrt.context import Context
from paring_runtimes.tensorrt.opened import Opened

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TensorRTSession:
    """Fulfils `paring_runtimes.engines.NativeSession`; also takes arrays that lie on the device.

    Attributes:
        opened: the engine behind it.
    """

    def __init__(
        self, opened: Opened, version: str, contexts: int, graphs: bool, profile_to: Path | None
    ) -> None:
        self.opened = opened
        self.version = version
        self.providers: tuple[str, ...] = (f"cuda:{opened.device}",)
        self.inputs, self.outputs = opened.specs(opened.inputs), opened.specs(opened.outputs)
        self._graphs = graphs and profile_to is None
        self._profile_to = profile_to
        self._layers = None if profile_to is None else layer_times(opened.trt)
        self._idle: list[Context] = []
        self._room = threading.Semaphore(contexts)
        self._lock = threading.Lock()

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`; as many threads at once as there are contexts, others wait."""
        with self._context() as context:
            return context.run(names, feeds)

    def run_on_device(self, feeds: Mapping[str, Any]) -> dict[str, DeviceArray]:
        """Compute every output, from arrays with `__dlpack__`, into arrays on the device; nothing is copied.

        Arrays on the host are copied to the device first.

        Raises:
            InputError: a wrong name, dtype, shape, or device.
            EngineError: the engine failed.
        """
        missing = {spec.name for spec in self.inputs} ^ set(feeds)
        if missing:
            raise InputError(f"inputs: expected {[spec.name for spec in self.inputs]}, given {list(feeds)}")
        with self._context() as context:
            kept: list[object] = []  # what is read until the network has run
            given = {}
            for tensor in self.opened.inputs:
                array = take(tensor.name, feeds[tensor.name], context.stream.handle)
                if array.dtype != tensor.dtype:
                    raise InputError(f"input {tensor.name!r}: expected {tensor.dtype}, given {array.dtype}")
                on_host = array.device[0] in (CPU, PINNED)
                if not on_host and array.device[1] != self.opened.device:
                    raise InputError(
                        f"input {tensor.name!r}: on GPU {array.device[1]}, not {self.opened.device}"
                    )
                if on_host and not tensor.on_host:
                    source = np.from_dlpack(feeds[tensor.name])
                    sent = upload(source, self.opened.device)
                    kept.append(sent)
                    given[tensor.name] = (sent.address, source.shape)
                    continue
                kept.append(array)
                given[tensor.name] = (array.address, array.shape)
            context.shape_on_device(given)
            made = context.give_new_outputs()
            context.enqueue()
            context.stream.wait()
            return context.arrays(made)

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Return a call that computes `outputs` from `inputs` in place, as one graph where that can be."""
        self._use_device()
        context = Context(self.opened, self._layers)
        staged = context.shape(inputs)
        context.give_outputs()
        wanted = [tensor for tensor in self.opened.outputs if tensor.name in outputs]
        by_data = any(-1 in context.output_shape(tensor) for tensor in self.opened.outputs)
        found: dict[str, NDArray[Any]] = {}

        def work() -> None:
            context.upload(staged)
            context.enqueue()
            for tensor in wanted:
                found[tensor.name] = context.download(tensor)

        work()  # TensorRT prepares in the first call what it may not do while a graph is captured
        context.stream.wait()
        whole = not by_data and not any(tensor.on_host for tensor in self.opened.inputs)
        send = context.stream.captured(work).launch if self._graphs and whole else work

        def execute() -> None:
            self._use_device()
            for name, array in staged.items():
                np.copyto(array, inputs[name])
            send()
            context.stream.wait()
            for name, array in outputs.items():
                if found[name].shape != array.shape:
                    raise EngineError(
                        f"{self.opened.path}: output {name!r} has shape {found[name].shape}, its buffer"
                        f" {array.shape}"
                    )
                np.copyto(array, found[name])

        return execute

    def end_profiling(self) -> Path:
        """Write the milliseconds of every layer, summed over all calls, and return the file.

        Raises:
            EngineError: the session was opened without `profile_to`.
        """
        if self._profile_to is None or self._layers is None:
            raise EngineError(f"{self.opened.path}: opened without a profile; load it with profile_to=...")
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        file = self._profile_to.with_name(f"{self._profile_to.name}_{stamp}.json")
        file.write_text(json.dumps({"layers_ms": self._layers.milliseconds}, indent=1), encoding="utf-8")
        return file

    @contextmanager
    def _context(self) -> Iterator[Context]:
        """A context that no other thread uses, on this thread's current device."""
        self._use_device()
        with self._room:
            with self._lock:
                context = self._idle.pop() if self._idle else None
            if context is None:
                context = Context(self.opened, self._layers)
            try:
                yield context
            finally:
                with self._lock:
                    self._idle.append(context)

    def _use_device(self) -> None:
        checked(cudart().cudaSetDevice(self.opened.device))


def layer_times(trt: Any) -> Any:
    """Return an `IProfiler` that sums up `milliseconds` by layer."""

    class LayerTimes(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.milliseconds: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.milliseconds[layer_name] = self.milliseconds.get(layer_name, 0.0) + ms

    return LayerTimes()
