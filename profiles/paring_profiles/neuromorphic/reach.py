"""Which senders a block of neurons hears, how many connections those are, and how many weights they keep.

Intervals are carried backwards along a path, axis by axis: convolutions and pooling are separable, and behind
a linear layer every neuron may hear every sender. Holes of dilated kernels count as connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.nir import nodes as nir

from .network import Network, Path

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[tuple[int, int], ...]  # an interval [first, last) an axis


def whole(shape: tuple[int, ...]) -> Box:
    """All of a shape."""
    return tuple((0, size) for size in shape)


def size(box: Box) -> int:
    """Elements."""
    return prod(last - first for first, last in box)


def members(box: Box, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Flat indices of a box's elements, in order."""
    axes = np.ix_(*(np.arange(first, last) for first, last in box))
    return np.ravel_multi_index(axes, shape).reshape(-1)


@dataclass(frozen=True)
class Reach:
    """What neurons hear through one path.

    Attributes:
        source_shape: of the senders.
        spans: an axis of the target each: first and last sender on that axis, [n, 2]; None where every
            neuron hears every sender.
        row_connections: of each target behind a linear layer, int64 [N]; None elsewhere.
        kernel: weights that a channel of the target keeps when they are shared; 0 without a kernel.
    """

    source_shape: tuple[int, ...]
    spans: tuple[NDArray[np.int64], ...] | None
    row_connections: NDArray[np.int64] | None
    kernel: int

    def senders(self, box: Box) -> Box:
        """The senders of a block of neurons."""
        if self.spans is None:
            return whole(self.source_shape)
        return tuple(
            (int(span[first:last, 0].min()), int(span[first:last, 1].max()))
            for span, (first, last) in zip(self.spans, box, strict=True)
        )

    def connections(self, box: Box) -> int:
        """Connections into a block of neurons."""
        if self.row_connections is not None:
            first, last = box[0]
            return int(self.row_connections[first:last].sum())
        if self.spans is None:
            return size(box) * prod(self.source_shape)
        widths = [int(np.diff(s[a:b], axis=1).sum()) for s, (a, b) in zip(self.spans, box, strict=True)]
        return prod(widths)

    def fan_in(self) -> int:
        """Connections of the neuron that has most."""
        if self.row_connections is not None:
            return int(self.row_connections.max(initial=0))
        if self.spans is None:
            return prod(self.source_shape)
        return prod(int(np.diff(span, axis=1).max(initial=0)) for span in self.spans)

    def stored(self, box: Box, shared: bool) -> int:
        """Weights that a core with this block keeps."""
        if self.kernel and shared:
            first, last = box[0]
            return self.kernel * (last - first)
        return self.connections(box)


def reach(network: Network, path: Path, shape: tuple[int, ...]) -> Reach:
    """Follow a path backwards from neurons of this shape."""
    return _reach(network, path.nodes, shape, network.source_shape(path))


def weight_connections(network: Network, name: str) -> int:
    """Connections of a node with weights alone, without what lies around it."""
    taken, given = network.shapes[name]
    return _reach(network, (name,), given, taken).connections(whole(given))


def _reach(
    network: Network, nodes: tuple[str, ...], shape: tuple[int, ...], source: tuple[int, ...]
) -> Reach:
    spans: list[NDArray[np.int64]] | None = [_identity(n) for n in shape]
    rows: NDArray[np.int64] | None = None
    kernel = 0
    for name in reversed(nodes):
        node = network.flat.nodes[name]
        taken = network.shapes[name][0]
        if isinstance(node, (nir.Linear, nir.Affine)):
            spans, used = None, (node.weight != 0).sum(axis=1)
            rows = used.astype(np.int64) * (prod(source) // max(1, node.weight.shape[1]))
        elif isinstance(node, nir.Flatten) and spans is not None and len(taken) > 1:
            spans, rows = None, np.ones(prod(shape), np.int64)  # neuron to neuron, in another shape
        elif isinstance(node, (nir.Conv1d, nir.Conv2d)) and spans is not None:
            spans = _through_convolution(node, spans, taken)
            kernel = prod(node.weight.shape[1:])
        elif isinstance(node, (nir.AvgPool2d, nir.SumPool2d)) and spans is not None:
            axes = zip(spans[1:], taken[1:], node.kernel_size, node.stride, node.padding, strict=True)
            spans = [spans[0], *(_back(span, n, k, s, p, 1) for span, n, k, s, p in axes)]
    return Reach(source, None if spans is None else tuple(spans), rows, kernel)


def _identity(count: int) -> NDArray[np.int64]:
    first = np.arange(count, dtype=np.int64)
    return np.stack([first, first + 1], axis=1)


def _through_convolution(
    node: nir.Conv1d | nir.Conv2d, spans: list[NDArray[np.int64]], taken: tuple[int, ...]
) -> list[NDArray[np.int64]]:
    inner, kernels = node.weight.shape[1], node.weight.shape[2:]
    outputs = node.weight.shape[0] // node.groups
    channels = np.stack(
        [spans[0][:, 0] // outputs * inner, ((spans[0][:, 1] - 1) // outputs + 1) * inner], axis=1
    )
    strides, dilations = _pair(node.stride, len(kernels)), _pair(node.dilation, len(kernels))
    paddings = _paddings(node.padding, kernels, dilations)
    axes = zip(spans[1:], taken[1:], kernels, strides, paddings, dilations, strict=True)
    return [channels, *(_back(span, n, k, s, p, d) for span, n, k, s, p, d in axes)]


def _pair(value: Any, axes: int) -> tuple[int, ...]:
    found = tuple(int(one) for one in np.atleast_1d(np.asarray(value)))
    return found if len(found) == axes else found * axes


def _paddings(value: Any, kernels: tuple[int, ...], dilations: tuple[int, ...]) -> tuple[int, ...]:
    if value == "valid":
        return (0,) * len(kernels)
    if value == "same":  # the smaller half comes first
        return tuple(step * (k - 1) // 2 for k, step in zip(kernels, dilations, strict=True))
    return _pair(value, len(kernels))


def _back(
    span: NDArray[np.int64], count: int, kernel: int, stride: int, padding: int, dilation: int
) -> NDArray[np.int64]:
    """Intervals of what a window takes, cut at the border."""
    first = span[:, 0] * stride - padding
    last = (span[:, 1] - 1) * stride - padding + dilation * (kernel - 1) + 1
    return np.stack([first.clip(0, count - 1), last.clip(1, count)], axis=1)


def reaches(network: Network) -> dict[tuple[str, int], Reach]:
    """Of every path of every layer, by the layer's name and the path's number."""
    return {
        (layer.name, number): reach(network, path, layer.shape)
        for layer in network.layers.values()
        for number, path in enumerate(layer.paths)
    }
