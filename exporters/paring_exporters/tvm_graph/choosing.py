"""Which kernel a shift layer gets: both are timed here, in turn, and the faster one is taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..tvm.build import build, empty, tensor
from ..tvm.shift_codes import LANES, unit_bytes
from ..tvm.shift_linear import tile_for, untuned
from ..tvm.shift_problem import ShiftShape
from ..tvm.target import threads_of
from .kernels.dense import Dense, tiling_for
from .kernels.shift import float_layer, integer_layer, quantise, words_of

_TURNS = 7


@dataclass(frozen=True)
class Choice:
    """The kernel of a layer, "integer" or "float", why, and what each took (smallest of some turns), ms."""

    layer: Dense
    kernel: str
    reason: str
    integer_ms: float | None = None
    float_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for the manifest."""
        return {**asdict(self), "layer": {**asdict(self.layer), "middle": list(self.layer.middle)}}

    def note(self) -> str:
        """What the user should read: that the integer kernel lost."""
        if self.integer_ms is None or self.float_ms is None or self.kernel == "integer":
            return ""
        return (
            f"tvm: {self.layer.in_features} -> {self.layer.out_features} features: the integer kernel was not"
            f" chosen: {self.integer_ms:.4g} ms, the float kernel {self.float_ms:.4g} ms"
        )


def choose_layer(layer: Dense, target: Any, integer: bool, timed: bool) -> Choice:
    """Return the kernel of a shift layer.

    Args:
        layer: with an open batch it is timed at a batch of 1.
        target: of TVM.
        integer: whether activations may be rounded to 8 bits.
        timed: whether the target is this CPU.
    """
    if not integer:
        return Choice(layer, "float", "export.shift is float")
    if not timed:
        return Choice(layer, "integer", "not timed: compiled for another CPU than this one")
    calls = _calls(layer, target)
    times = [[_milliseconds(call) for call in calls] for _ in range(_TURNS)]
    ours, other = (float(min(column)) for column in zip(*times, strict=True))
    kernel = "integer" if ours <= other else "float"
    return Choice(layer, kernel, f"{other / ours:.2f} times as fast as the float kernel", ours, other)


def _calls(layer: Dense, target: Any) -> tuple[Callable[[], object], Callable[[], object]]:
    shape = ShiftShape(1, layer.in_features, layer.out_features)
    tile, tiling = tile_for(target, shape, untuned(target)), tiling_for(target)
    library = build(
        {
            "quantise": quantise("quantise", layer, threads_of(target)),
            "integer": integer_layer("integer", layer, tile),
            "float": float_layer("float", layer, tiling),
        },
        target,
    )
    rng = np.random.default_rng(0)
    lead = (layer.batch or 1, *layer.middle)
    x = tensor(rng.standard_normal((*lead, layer.in_features)).astype(np.float32))
    rounded = [
        empty((*lead, words_of(layer.in_features)), "int32"),
        empty((*lead, 1), "float32"),
        empty((*lead, 1), "int32"),
    ]
    width = -(-layer.out_features // tiling.panel) * tiling.panel
    codes = tensor(rng.integers(0, 256, (shape.blocks, shape.units, unit_bytes(4)), np.uint8))
    pairs = tensor(
        rng.integers(0, 256, (width // tiling.panel, -(-layer.in_features // 2), tiling.panel), np.uint8)
    )
    lanes = [tensor(np.full(shape.blocks * LANES, 1e-3, np.float32)) for _ in range(2)]
    columns = [tensor(np.full(width, 1e-3, np.float32)) for _ in range(2)]
    ending = [empty((*lead, layer.out_features), "float32") for _ in range(1 + layer.residual)]

    def integer() -> None:
        library["quantise"](x, *rounded)
        library["integer"](*rounded, codes, *lanes, *ending)

    return integer, lambda: library["float"](x, pairs, *columns, *ending)


def _milliseconds(call: Callable[[], object]) -> float:
    call()
    begin = time.perf_counter_ns()
    call()
    call()
    return (time.perf_counter_ns() - begin) / 2e6
