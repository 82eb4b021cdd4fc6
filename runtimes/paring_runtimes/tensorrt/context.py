"""One execution context with its stream and its buffers: what one thread uses at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.cuda.array import DeviceArray
from paring_runtimes.cuda.memory import DeviceBuffer, Growing, PinnedBuffer
from paring_runtimes.cuda.stream import Stream
from paring_runtimes.errors import EngineError
from paring_runtimes.tensorrt.opened import Opened, Tensor
from paring_runtimes.tensorrt.profiles import Shape, fitting

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Context:
    """An `IExecutionContext`, a stream, and buffers that grow to the largest shapes seen."""

    def __init__(self, opened: Opened, profiler: Any = None) -> None:
        self.opened = opened
        self.native = opened.context()
        if profiler is not None:
            self.native.profiler = profiler
        self.stream = Stream()
        self._profile = 0
        self._device = {tensor.name: Growing(DeviceBuffer) for tensor in (*opened.inputs, *opened.outputs)}
        self._pinned = {tensor.name: Growing(PinnedBuffer) for tensor in (*opened.inputs, *opened.outputs)}
        self._allocators: dict[str, Any] = {}
        self._host: dict[str, NDArray[Any]] = {}  # inputs that TensorRT reads on the host

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute outputs of arrays on the host, into new arrays on the host."""
        staged = self.shape(feeds)
        self.upload(staged)
        self.give_outputs()
        self.enqueue()
        found = self._download(names)
        self.stream.wait()
        return [np.array(array) for array in found]

    def shape(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Choose the profile, tell the inputs' shapes and addresses; return the pinned copies to upload."""
        self._use_profile({name: array.shape for name, array in feeds.items()})
        staged = {}
        for tensor in self.opened.inputs:
            array = feeds[tensor.name]
            self._tell_shape(tensor, array.shape)
            if tensor.on_host:
                self._host[tensor.name] = np.ascontiguousarray(array)
                self._give(tensor.name, self._host[tensor.name].ctypes.data)
                continue
            staged[tensor.name] = self.pinned(tensor.name, array.shape, array.dtype)
            np.copyto(staged[tensor.name], array)
            self._give(tensor.name, self._device[tensor.name].of(array.nbytes).address)
        return staged

    def shape_on_device(self, given: Mapping[str, tuple[int, Shape]]) -> None:
        """As `shape`, of inputs that lie on the device already: their addresses and shapes."""
        self._use_profile({name: shape for name, (_, shape) in given.items()})
        for tensor in self.opened.inputs:
            address, shape = given[tensor.name]
            self._tell_shape(tensor, shape)
            self._give(tensor.name, address)

    def pinned(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return pinned memory of a tensor as an array of this shape."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        view: NDArray[Any] = self._pinned[name].of(nbytes).view(shape, dtype)
        return view

    def upload(self, staged: Mapping[str, NDArray[Any]]) -> None:
        """Send pinned inputs to the device."""
        for name, array in staged.items():
            self.stream.upload(self._device[name].of(array.nbytes).address, array.ctypes.data, array.nbytes)

    def give_outputs(self) -> None:
        """Hand TensorRT memory for every output: of its size where that is known, as it asks otherwise."""
        missing = self.native.infer_shapes()
        if missing:
            raise EngineError(f"{self.opened.path}: shapes are missing of {', '.join(missing)}")
        for tensor in self.opened.outputs:
            shape = self.output_shape(tensor)
            if -1 in shape:
                self._give_allocator(tensor.name)
                continue
            if tensor.name in self._allocators:
                self.native.set_output_allocator(tensor.name, None)
                del self._allocators[tensor.name]
            nbytes = int(np.prod(shape, dtype=np.int64)) * tensor.dtype.itemsize
            self._give(tensor.name, self._device[tensor.name].of(nbytes).address)

    def give_new_outputs(self) -> dict[str, DeviceBuffer]:
        """As `give_outputs`, of memory that stays when the context goes on; its sizes must be known."""
        self.native.infer_shapes()
        made = {}
        for tensor in self.opened.outputs:
            shape = self.output_shape(tensor)
            if -1 in shape:
                raise EngineError(
                    f"{self.opened.path}: output {tensor.name!r}: only the data decide its size; use run"
                )
            made[tensor.name] = DeviceBuffer(int(np.prod(shape, dtype=np.int64)) * tensor.dtype.itemsize)
            self._give(tensor.name, made[tensor.name].address)
        return made

    def enqueue(self) -> None:
        """Send the network to the stream.

        Raises:
            EngineError: TensorRT refuses; its own reason is in the message.
        """
        if not self.native.execute_async_v3(self.stream.handle):
            raise EngineError(f"{self.opened.path}: the run failed: {self.opened.log.said()}")

    def output_shape(self, tensor: Tensor) -> Shape:
        """An output's sizes for the inputs told, -1 where only the data decide."""
        return tuple(self.native.get_tensor_shape(tensor.name))

    def arrays(self, buffers: Mapping[str, DeviceBuffer]) -> dict[str, DeviceArray]:
        """Outputs that `give_new_outputs` made room for."""
        return {
            tensor.name: DeviceArray(
                buffers[tensor.name], self.output_shape(tensor), tensor.dtype, self.opened.device
            )
            for tensor in self.opened.outputs
        }

    def download(self, tensor: Tensor) -> NDArray[Any]:
        """Send an output to pinned memory; the array holds it when the stream has run."""
        allocator = self._allocators.get(tensor.name)
        if allocator is not None:
            self.stream.wait()  # its shape is told while the network runs
        shape = self.output_shape(tensor) if allocator is None else allocator.shape
        array = self.pinned(tensor.name, shape, tensor.dtype)
        source = self._device[tensor.name].of(0).address
        self.stream.download(array.ctypes.data, source, array.nbytes)
        return array

    def _download(self, names: Sequence[str]) -> list[NDArray[Any]]:
        by_name = {tensor.name: tensor for tensor in self.opened.outputs}
        return [self.download(by_name[name]) for name in names]

    def _use_profile(self, shapes: Mapping[str, Shape]) -> None:
        index = fitting(
            self.opened.profiles, {t.name: shapes[t.name] for t in self.opened.inputs if not t.on_host}
        )
        if index == self._profile:
            return
        if not self.native.set_optimization_profile_async(index, self.stream.handle):
            raise EngineError(f"{self.opened.path}: profile {index}: {self.opened.log.said()}")
        self._profile = index

    def _tell_shape(self, tensor: Tensor, shape: Shape) -> None:
        if not self.native.set_input_shape(tensor.name, tuple(shape)):
            raise EngineError(f"{self.opened.path}: input {tensor.name!r}: {self.opened.log.said()}")

    def _give(self, name: str, address: int) -> None:
        if not self.native.set_tensor_address(name, address):
            raise EngineError(f"{self.opened.path}: {name!r}: {self.opened.log.said()}")

    def _give_allocator(self, name: str) -> None:
        if name not in self._allocators:
            self._allocators[name] = allocator_of(self.opened.trt, self._device[name])
        self.native.set_output_allocator(name, self._allocators[name])


def allocator_of(trt: Any, memory: Growing) -> Any:
    """Return an `IOutputAllocator` that gives memory as TensorRT asks, and keeps the `shape` it is told."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.shape: Shape = ()

        def reallocate_output(self, tensor_name: str, memory_: int, size: int, alignment: int) -> int | None:
            try:
                return int(
                    memory.of(size).address
                )  # cudaMalloc aligns to 256 bytes, TensorRT asks for as many
            except EngineError:
                return None

        def reallocate_output_async(
            self, tensor_name: str, memory_: int, size: int, alignment: int, stream: int
        ) -> int | None:
            return self.reallocate_output(tensor_name, memory_, size, alignment)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self.shape = tuple(shape)

    return Allocator()
