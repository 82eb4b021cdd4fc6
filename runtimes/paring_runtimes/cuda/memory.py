"""Memory of the device, and memory of the host that a device reads directly (pinned)."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.cuda.calls import checked, cudart

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DeviceBuffer:
    """Bytes on the device; freed when the last reference goes.

    Attributes:
        address: where they begin.
        nbytes: how many there are.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = max(nbytes, 1)  # TensorRT wants an address for empty tensors too
        self.address = int(checked(cudart().cudaMalloc(self.nbytes)))

    def __del__(self) -> None:
        address, self.address = getattr(self, "address", 0), 0
        if address:
            with suppress(Exception):  # at the interpreter's end CUDA may be gone
                cudart().cudaFree(address)


class PinnedBuffer:
    """Bytes of the host that stay where they are, so that copies need no detour and run beside kernels."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = max(nbytes, 1)
        self.address = int(checked(cudart().cudaMallocHost(self.nbytes)))
        self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * self.nbytes).from_address(self.address))

    def view(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return its first bytes as an array. It must not be used longer than this buffer."""
        count = math.prod(shape) * dtype.itemsize
        return self._bytes[:count].view(dtype).reshape(shape)

    def __del__(self) -> None:
        address, self.address = getattr(self, "address", 0), 0
        if address:
            with suppress(Exception):
                cudart().cudaFreeHost(address)


class Growing:
    """A buffer that is made anew, larger, when what it holds no longer fits."""

    def __init__(self, kind: type[DeviceBuffer] | type[PinnedBuffer]) -> None:
        self._kind = kind
        self._buffer: Any = None

    def of(self, nbytes: int) -> Any:
        """Return a buffer of at least so many bytes; what it held is lost when it grows."""
        if self._buffer is None or self._buffer.nbytes < nbytes:
            self._buffer = None  # freed before the larger one is made
            self._buffer = self._kind(nbytes)
        return self._buffer
