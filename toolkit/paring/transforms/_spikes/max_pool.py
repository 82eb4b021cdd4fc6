"""Max pooling written anew for rates: max(a, b) = a + relu(b - a).

The maximum of spikes at a step is not that of rates: of two neurons that fire in turn at half rate the
maximum fires always (https://github.com/fangwei123456/spikingjelly/issues/145). The difference of two trains
of spikes, integrated, is: a layer of neurons for each further value of a window, first along its height, then
along its width, between convolutions with weights 0, 1 and -1. The trained network stays the same function.
"""

from __future__ import annotations

import operator

import torch
from torch import nn
from torch.fx import GraphModule, Node

from .folding import module_of
from .layers import POOLS, RECTIFIERS, MaxPool, Scale, convolution
from .lifting import put, shape_of, shaped


def max_pools(body: GraphModule) -> list[Node]:
    """The nodes of a lifted network that pool maxima."""
    return [node for node in body.graph.nodes if isinstance(module_of(body, node), MaxPool)]


def why_not(body: GraphModule, node: Node) -> str:
    """Why a max pooling cannot be written anew; empty where it can."""
    module = module_of(body, node)
    assert isinstance(module, MaxPool)
    users = [module_of(body, user) for user in node.users]
    only_rectified = bool(users) and all(isinstance(user, RECTIFIERS) for user in users)
    if not any(module.padding) or only_rectified or _not_negative(body, node.args[0]):
        return ""
    return f"{node.target} pads what may be negative; without padding, or behind a ReLU, max_pool2d converts"


def _not_negative(body: GraphModule, node: object) -> bool:
    module = module_of(body, node)
    if isinstance(module, RECTIFIERS):
        return True
    through = isinstance(module, (*POOLS, MaxPool))
    return through and isinstance(node, Node) and _not_negative(body, node.args[0])


def without_max_pools(body: GraphModule, shape: tuple[int, ...]) -> GraphModule:
    """Write every max pooling anew, in place. Each must be one that `why_not` lets pass."""
    for node in max_pools(body):
        module, given = module_of(body, node), node.args[0]
        assert isinstance(module, MaxPool)
        assert isinstance(given, Node)
        channels, value = shape_of(given)[0], given
        put(body, str(node.target), nn.Module())  # what takes its place lies below its path
        with body.graph.inserting_before(node):
            for axis, name in enumerate(("height", "width")):
                sizes = module.kernel[axis], module.stride[axis], module.padding[axis]
                if sizes != (1, 1, 0):
                    value = _Along(body, f"{node.target}.{name}", channels, axis, sizes).maximum(value)
        node.replace_all_uses_with(value)
        body.graph.erase_node(node)
        shaped(body, shape)
    return body


class _Along:
    """Maxima along one axis. `sizes`: kernel, stride and padding."""

    def __init__(
        self, body: GraphModule, name: str, channels: int, axis: int, sizes: tuple[int, int, int]
    ) -> None:
        self.body, self.name, self.channels, self.axis = body, name, channels, axis
        self.kernel, self.stride, self.padding = sizes

    def maximum(self, x: Node) -> Node:
        """[B, C, H, W] -> the same with one axis pooled."""
        best = self._taps({0: 1.0}, "first", x)
        for tap in range(1, self.kernel):
            if tap == 1:
                gap = self._taps({0: -1.0, 1: 1.0}, "gap_1", x)
            else:
                other = self._taps({tap: 1.0}, f"value_{tap}", x)
                negative = self._call(Scale(torch.tensor(-1.0)), f"negative_{tap}", best)
                gap = self.body.graph.call_function(operator.add, (other, negative))
            more = self._call(nn.ReLU(), f"relu_{tap}", gap)
            best = self.body.graph.call_function(operator.add, (best, more))
        return best

    def _taps(self, weights: dict[int, float], name: str, x: Node) -> Node:
        """Every channel by itself: a sum of some of a window's values."""
        kernel = torch.zeros(self.kernel)
        for tap, value in weights.items():
            kernel[tap] = value
        flat = self.axis == 1
        kernel = kernel.reshape(1, 1, 1, -1) if flat else kernel.reshape(1, 1, -1, 1)
        stride = (1, self.stride) if flat else (self.stride, 1)
        padding = (0, self.padding) if flat else (self.padding, 0)
        weight = kernel.repeat(self.channels, 1, 1, 1)
        layer = convolution(weight, None, stride=stride, padding=padding, groups=self.channels)
        return self._call(layer, name, x)

    def _call(self, module: nn.Module, name: str, x: Node) -> Node:
        path = f"{self.name}.{name}"
        put(self.body, path, module)
        return self.body.graph.call_module(path, (x,))
