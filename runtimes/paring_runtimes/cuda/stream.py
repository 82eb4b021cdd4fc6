"""Streams, events and graphs: what runs in order on the device, and what is sent there at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from paring_runtimes.cuda.calls import checked, cudart


class Stream:
    """One queue of work on the current device. `handle` is the number that other libraries take."""

    def __init__(self) -> None:
        self._stream = checked(cudart().cudaStreamCreateWithFlags(cudart().cudaStreamNonBlocking))
        self.handle = int(self._stream)

    def upload(self, to: int, source: int, nbytes: int) -> None:
        """Copy from the host to the device, in order with the stream."""
        self._copy(to, source, nbytes, cudart().cudaMemcpyKind.cudaMemcpyHostToDevice)

    def download(self, to: int, source: int, nbytes: int) -> None:
        """Copy from the device to the host, in order with the stream."""
        self._copy(to, source, nbytes, cudart().cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Copy on the device, in order with the stream."""
        self._copy(to, source, nbytes, cudart().cudaMemcpyKind.cudaMemcpyDeviceToDevice)

    def wait(self) -> None:
        """Return when all that was sent has run."""
        checked(cudart().cudaStreamSynchronize(self._stream))

    def captured(self, work: Callable[[], None]) -> Graph:
        """Return a graph of what `work` sends to this stream; nothing of it runs now.

        Raises:
            EngineError: something of it cannot be captured.
        """
        mode = cudart().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(cudart().cudaStreamBeginCapture(self._stream, mode))
        try:
            work()
        except BaseException:
            with suppress(Exception):
                cudart().cudaStreamEndCapture(self._stream)
            raise
        return Graph(checked(cudart().cudaStreamEndCapture(self._stream)), self)

    def milliseconds(self, work: Callable[[], None]) -> float:
        """Return how long `work`, sent to this stream, runs on the device [ms]."""
        start, end = (checked(cudart().cudaEventCreate()) for _ in range(2))
        try:
            checked(cudart().cudaEventRecord(start, self._stream))
            work()
            checked(cudart().cudaEventRecord(end, self._stream))
            checked(cudart().cudaEventSynchronize(end))
            return float(checked(cudart().cudaEventElapsedTime(start, end)))
        finally:
            for event in (start, end):
                cudart().cudaEventDestroy(event)

    def _copy(self, to: int, source: int, nbytes: int, kind: Any) -> None:
        if nbytes:
            checked(cudart().cudaMemcpyAsync(to, source, nbytes, kind, self._stream))

    def __del__(self) -> None:
        stream, self._stream = getattr(self, "_stream", None), None
        if stream is not None:
            with suppress(Exception):
                cudart().cudaStreamDestroy(stream)


class Graph:
    """Work that was captured once and is sent to the device with one call."""

    def __init__(self, graph: Any, stream: Stream) -> None:
        self._stream = stream
        try:
            self._ready = checked(cudart().cudaGraphInstantiate(graph, 0))
        finally:
            cudart().cudaGraphDestroy(graph)

    def launch(self) -> None:
        """Send it; `Stream.wait` waits for it."""
        checked(cudart().cudaGraphLaunch(self._ready, self._stream._stream))

    def __del__(self) -> None:
        ready, self._ready = getattr(self, "_ready", None), None
        if ready is not None:
            with suppress(Exception):
                cudart().cudaGraphExecDestroy(ready)
