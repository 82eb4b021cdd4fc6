"""Which arithmetic a graph's sum of products takes, by evidence in the graph."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_BLOCKS = (0, 128, 64, 32, 16)  # weights that share a scale: a whole column first, then groups of inputs
_COMPARISONS = {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"}
_PASSING = {
    "Cast", "Concat", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Reshape", "Slice", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
_MOST_EXPONENTS = 15  # of a 5-bit code, zero beside them


class Evidence:
    """Looks up what feeds a node: constants with their values, and comparisons."""

    def __init__(self, path: Path, model: onnx.ModelProto) -> None:
        self._path, self._model = path, model
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constant: dict[str, bool] = {}

    def is_constant(self, name: str) -> bool:
        """Whether a tensor follows from the weights alone."""
        if name not in self._constant:
            maker = self._makers.get(name)
            if name in self._stored or maker is None:
                self._constant[name] = name in self._stored
            else:
                self._constant[name] = all(self.is_constant(given) for given in maker.input if given)
        return self._constant[name]

    def is_binary(self, name: str) -> bool:
        """Whether a tensor comes from comparisons, so that it holds zeros and ones only."""
        seen = self._makers.get(name)
        while seen is not None and seen.op_type in _PASSING:
            seen = self._makers.get(seen.input[0])
        return seen is not None and seen.op_type in _COMPARISONS

    def shift_bits(self, name: str) -> int | None:
        """Bits of a weight's code, sign included, when each is a power of two times a scale or zero."""
        return shift_bits(self._value(name)) if self.is_constant(name) else None

    def _value(self, name: str) -> NDArray[Any]:
        import onnx
        import onnx.reference

        if name in self._stored:
            return onnx.numpy_helper.to_array(self._stored[name], str(self._path.parent))
        wanted, nodes = {name}, []
        for node in reversed(self._model.graph.node):
            if wanted & set(node.output):
                nodes.append(copy.deepcopy(node))
                wanted |= {given for given in node.input if given}
        stored = [onnx.numpy_helper.from_array(self._value(w), w) for w in wanted if w in self._stored]
        result = onnx.helper.make_empty_tensor_value_info(name)
        graph = onnx.helper.make_graph(nodes[::-1], "constant", [], [result], stored)
        model = onnx.helper.make_model(graph, opset_imports=list(self._model.opset_import))
        model.ir_version = self._model.ir_version
        values: Any = onnx.reference.ReferenceEvaluator(model).run(None, {})
        found: NDArray[Any] = values[0]
        return found


def shift_bits(weight: NDArray[Any]) -> int | None:
    """Bits of a code for [..., K, N] weights, if powers of two times a scale a column (or group of rows).

    None when some weight is not, or when there are only zeros, or one size (binary weights are no shifts).
    """
    if weight.ndim < 2:
        return None
    by_column = np.moveaxis(weight.reshape(-1, *weight.shape[-2:]), -1, -2)
    for one in (by_column, weight.reshape(weight.shape[0], -1)[None]):  # or [N, K...], of convolutions
        for block in _BLOCKS:
            exponents = _exponents(np.abs(one).astype(np.float64), block)
            if exponents is not None and 1 < exponents <= _MOST_EXPONENTS:
                return 1 + max(3, math.ceil(math.log2(exponents + 1)))
    return None


def _exponents(size: NDArray[np.float64], block: int) -> int | None:
    """How many powers of two [..., K] magnitudes span within a scale; None if others are among them."""
    length = size.shape[-1]
    if block and length % block:
        return None
    grouped = size.reshape(*size.shape[:-1], -1, block or length)
    largest = grouped.max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log2(grouped / largest)
    power = power[np.isfinite(power)]
    if not power.size or np.abs(power - power.round()).max() > 1e-3:
        return None
    return int(-power.min().round()) + 1


def tensor_bits(types: Mapping[str, int], name: str, default: int = 32) -> int:
    """Bits of an element of a tensor, by its ONNX element type."""
    import onnx

    kind = types.get(name)
    if not kind:
        return default
    return 8 * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
