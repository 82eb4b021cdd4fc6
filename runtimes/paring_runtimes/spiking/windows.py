"""Windows of convolutions and pools: which places of the output each place of the input reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paring_runtimes.nir.nodes import AvgPool2d, Conv1d, Conv2d, Shape, SumPool2d

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pair = tuple[int, int]
Tables = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]"]


@dataclass(frozen=True)
class Window:
    """A kernel over an image, one entry an axis (height, width)."""

    size: Pair  # of the input
    kernel: Pair
    stride: Pair
    before: Pair  # padding in front
    dilation: Pair
    out: Pair

    def reach(self, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (begin [size + 1], pairs [n, 2]): for each place, (output place, kernel place)."""
        pairs = [
            (place, o, k)
            for o in range(self.out[axis])
            for k in range(self.kernel[axis])
            if (place := o * self.stride[axis] + k * self.dilation[axis] - self.before[axis]) >= 0
            and place < self.size[axis]
        ]
        found = np.array(sorted(pairs), np.int64).reshape(-1, 3)
        begin = np.searchsorted(found[:, 0], np.arange(self.size[axis] + 1)).astype(np.int64)
        return begin, np.ascontiguousarray(found[:, 1:])

    def back(self, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (begin [out + 1], pairs [n, 2]): for each output place, (place, kernel place)."""
        begin, pairs = self.reach(axis)
        places = np.repeat(np.arange(self.size[axis]), np.diff(begin))
        order = np.lexsort((places, pairs[:, 0]))
        found = np.stack([places, pairs[:, 1]], 1)[order]
        ends = np.searchsorted(pairs[order, 0], np.arange(self.out[axis] + 1)).astype(np.int64)
        return ends, np.ascontiguousarray(found)

    def tables_back(self) -> Tables:
        """Return both axes' tables the other way round."""
        return (*self.back(0), *self.back(1))

    def tables(self) -> Tables:
        """Return both axes' tables as the kernels take them."""
        return (*self.reach(0), *self.reach(1))


def convolution_window(node: Conv1d | Conv2d, given: Shape, out: Shape) -> Window:
    """Return the window of a convolution that takes and gives these shapes; a Conv1d has height 1."""
    kernel = (1, *node.weight.shape[2:])[-2:]
    stride, dilation = _pair(node.stride, 1), _pair(node.dilation, 1)
    if node.padding == "same":
        before = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    else:
        before = (0, 0) if isinstance(node.padding, str) else _pair(node.padding, 0)
    return Window(_image(given), _pair(kernel, 1), stride, _pair(before, 0), dilation, _image(out))


def pool_window(node: SumPool2d | AvgPool2d, given: Shape, out: Shape) -> Window:
    """Return the window of a pool that takes and gives these shapes."""
    return Window(_image(given), node.kernel_size, node.stride, node.padding, (1, 1), _image(out))


def _image(shape: Shape) -> Pair:
    return _pair(shape[1:] if len(shape) > 2 else shape[1], 1)


def _pair(value: int | tuple[int, ...], height: int) -> Pair:
    """Return (height, width); of a single number, with this height."""
    return (height, int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))
