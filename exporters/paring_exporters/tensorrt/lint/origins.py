"""Where a value comes from: what decides whether TensorRT can know a shape before it runs.

A shape that is computed from constants and from other shapes is known once the inputs' shapes are. One that
is computed from an integer input needs that input's values in the optimisation profile. One that is computed
from what the network computes (data) is known only after the network ran so far.
"""

from __future__ import annotations

from enum import IntEnum

from onnx import TensorProto

from .view import Scope, View, element_type, shape_of


class Origin(IntEnum):
    """What a value depends on; the larger, the later it is known."""

    CONSTANT = 0
    SHAPE = 1
    INPUT = 2
    DATA = 3


# Operators whose output's *shape* depends on their inputs' values, with the inputs it depends on.
SHAPED_BY = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "TopK": (1,), "Pad": (1,),
    "ConstantOfShape": (0,), "Range": (0, 1, 2), "OneHot": (1,), "Resize": (2, 3), "Split": (1,),
    "CenterCropPad": (1,), "Upsample": (1,), "Squeeze": (1,), "Unsqueeze": (1,),
}  # fmt: skip
# Operators whose output's shape depends on their data, always.
ALWAYS_BY_DATA = ("NonZero", "Compress", "Unique", "NonMaxSuppression")
_ARITHMETIC = frozenset((
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Div", "Equal",
    "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less",
    "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "ReduceMax",
    "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Sign", "Slice", "Split", "Sqrt", "Squeeze",
    "Sub", "Sum", "Tile", "Transpose", "Unsqueeze", "Where",
))  # fmt: skip
_WHOLE = (TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8)


class Origins:
    """The origins of one model's values, found as they are asked for."""

    def __init__(self, view: View) -> None:
        self._known: dict[tuple[int, str], Origin] = {}
        self._shaped = _shaped_by_data(view, self)

    def of(self, scope: Scope, name: str) -> Origin:
        """What a value depends on."""
        home = scope.home(name) if name else None
        if home is None or name in home.initializers:
            return Origin.CONSTANT
        key = (id(home), name)
        if key not in self._known:
            self._known[key] = Origin.DATA  # a loop in the graph, which there cannot be, ends here
            self._known[key] = self._found(home, name)
        return self._known[key]

    def shaped_by_data(self, scope: Scope, name: str) -> bool:
        """Whether a value's shape depends on what the network computes."""
        home = scope.home(name) if name else None
        return home is not None and (id(home), name) in self._shaped

    def _found(self, home: Scope, name: str) -> Origin:
        node = home.producers.get(name)
        if node is None:
            shape = shape_of(home, name)
            small = shape is not None and len(shape) <= 1 and element_type(home, name) in _WHOLE
            return Origin.INPUT if small and not home.inside else Origin.DATA
        if node.op_type == "Constant":
            return Origin.CONSTANT
        if node.op_type in ("Shape", "Size"):
            return Origin.DATA if self.shaped_by_data(home, node.input[0]) else Origin.SHAPE
        worst = max((self.of(home, one) for one in node.input), default=Origin.DATA)
        if worst == Origin.CONSTANT or node.op_type in _ARITHMETIC:
            return worst
        return Origin.DATA


def _shaped_by_data(view: View, origins: Origins) -> set[tuple[int, str]]:
    """Every value whose shape depends on data. In the graph's order, so that one pass is enough."""
    found: set[tuple[int, str]] = set()
    origins._shaped = found  # asked for while it grows: what is asked for lies before
    for place in view.places:
        operator = place.node.op_type
        decisive = [place.input(index) for index in SHAPED_BY.get(operator, ())]
        passed_on = operator not in ("Shape", "Size") and any(
            origins.shaped_by_data(place.scope, name) for name in place.node.input
        )
        by_data = operator in ALWAYS_BY_DATA or any(
            origins.of(place.scope, name) == Origin.DATA for name in decisive
        )
        if by_data or passed_on:
            found.update((id(place.scope), name) for name in place.node.output if name)
    return found
