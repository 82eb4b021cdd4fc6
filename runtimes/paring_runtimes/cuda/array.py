"""An array on the device that other libraries read without a copy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.cuda import dlpack
from paring_runtimes.cuda.memory import DeviceBuffer
from paring_runtimes.cuda.stream import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DeviceArray:
    """C-contiguous numbers on a GPU; `torch.from_dlpack(it)` and `cupy.from_dlpack(it)` read it in place.

    Attributes:
        shape, dtype: as numpy's.
        address: where it begins.
        device: the GPU's number.
    """

    def __init__(
        self, buffer: DeviceBuffer, shape: tuple[int, ...], dtype: np.dtype[Any], device: int = 0
    ) -> None:
        self._buffer = buffer
        self.shape, self.dtype, self.device = shape, dtype, device
        self.address = buffer.address
        self.nbytes = math.prod(shape) * dtype.itemsize

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack: a CUDA device, and its number."""
        return (dlpack.CUDA, self.device)

    def __dlpack__(self, *, stream: int | None = None, **newer: Any) -> Any:
        """DLPack: the memory itself. What made it has run already, so that any stream may read it."""
        return dlpack.give(self.address, self.shape, self.dtype, self.__dlpack_device__(), self._buffer)

    def numpy(self) -> NDArray[Any]:
        """Return a copy on the host."""
        found = np.empty(self.shape, self.dtype)
        stream = Stream()
        stream.download(found.ctypes.data, self.address, self.nbytes)
        stream.wait()
        return found

    def __repr__(self) -> str:
        return f"<DeviceArray {self.dtype}{list(self.shape)} on cuda:{self.device}>"


def upload(array: NDArray[Any], device: int = 0) -> DeviceArray:
    """Return a copy of an array of the host on the current device."""
    source = np.ascontiguousarray(array)
    buffer = DeviceBuffer(source.nbytes)
    stream = Stream()
    stream.upload(buffer.address, source.ctypes.data, source.nbytes)
    stream.wait()
    return DeviceArray(buffer, source.shape, source.dtype, device)
