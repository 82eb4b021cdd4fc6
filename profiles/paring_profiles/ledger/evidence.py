"""Which arithmetic a graph's sum of products takes, by evidence in the graph."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles.scan_bodies import body_of

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
_CHOOSING = {"Max", "Min"}  # of a spike and the bounds that a neuron sets it
_WHOLE = {"Ceil", "Floor", "Round"}


@dataclass(frozen=True)
class Selector:
    """An operand that selects what is added: zeros and ones, or signs.

    Attributes:
        bits: of an element.
        spikes: whether a layer of neurons that runs step by step (a Scan) makes it.
    """

    bits: int
    spikes: bool = False


class Evidence:
    """Looks up what feeds a node: constants with their values, comparisons and spikes."""

    def __init__(self, path: Path, model: onnx.ModelProto, body: onnx.GraphProto | None = None) -> None:
        """`body`: of a Scan whose nodes are asked about; names from outside of it are known too."""
        self._path, self._model = path, model
        graphs = [model.graph] if body is None else [model.graph, body]
        self._nodes = [node for graph in graphs for node in graph.node]
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._stored = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
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

    def selector(self, name: str) -> Selector | None:
        """What a tensor is that comes from comparisons, signs or spikes; None for any other."""
        maker = self._source(name)
        if maker is None:
            return None
        if maker.op_type in _COMPARISONS or maker.op_type == "Sign" or self._chooses_signs(maker):
            return Selector(bits=1)
        if maker.op_type == "Scan":
            output = list(maker.output).index(self._source_name(name))
            body = body_of(maker)
            found = Evidence(self._path, self._model, body).selector(body.output[output].name)
            return None if found is None else Selector(found.bits, spikes=True)
        while maker is not None and maker.op_type in _CHOOSING:
            maker = self._source(maker.input[0])
        if maker is not None and maker.op_type == "Clip" and self._is_sign(maker):
            return Selector(bits=2)
        return None

    def _source_name(self, name: str) -> str:
        """The tensor that `name` is a view of."""
        while (maker := self._makers.get(name)) is not None and maker.op_type in _PASSING:
            name = maker.input[0]
        return name

    def _source(self, name: str) -> onnx.NodeProto | None:
        return self._makers.get(self._source_name(name))

    def _chooses_signs(self, node: onnx.NodeProto) -> bool:
        """Where(condition, 1, -1)."""
        return node.op_type == "Where" and all(
            self.is_constant(name) and bool(np.isin(self._value(name), (-1, 0, 1)).all())
            for name in node.input[1:]
        )

    def _is_sign(self, clip: onnx.NodeProto) -> bool:
        """Whether a Clip holds whole numbers within -1 and 1."""
        whole = self._source(clip.input[0])
        bounds = [name for name in clip.input[1:] if name]
        if whole is None or whole.op_type not in _WHOLE or len(bounds) < 2:
            return False
        return all(self.is_constant(b) and abs(float(self._value(b))) <= 1 for b in bounds)

    def shift_bits(self, name: str) -> int | None:
        """Bits of a weight's code, sign included, when each is a power of two times a scale or zero."""
        return shift_bits(self._value(name)) if self.is_constant(name) else None

    def _value(self, name: str) -> NDArray[Any]:
        import onnx
        import onnx.reference

        if name in self._stored:
            return onnx.numpy_helper.to_array(self._stored[name], str(self._path.parent))
        wanted, nodes = {name}, []
        for node in reversed(self._nodes):
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
