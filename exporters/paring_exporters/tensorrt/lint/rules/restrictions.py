"""The restrictions that the operator table states of single operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from ...table import Table
from ..finding import Finding
from ..origins import Origin, Origins
from ..view import DEFAULT_DOMAINS, Place, View, shape_of

MAX_K = 3839  # "K must be less than 3840"
# Inputs that must be known when the engine is built.
MUST_BE_CONSTANT = {"CumSum": 1, "OneHot": 1, "Squeeze": 1, "Unsqueeze": 1, "STFT": 1} | {
    f"Reduce{kind}": 1
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
}
_MODES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
# Outside of the table, and yet built by TensorRT for RTX 1.7.
_TAKEN_ANYWAY = ("sorted is 0", "mode cubic", "axis")
Said = tuple[str, str]  # reason, repair


def check(view: View, origins: Origins, table: Table) -> Iterator[Finding]:
    """Every restriction that can be seen in the file."""
    used = {name for place in view.places for name in place.node.input}
    used |= {value.name for value in view.main.graph.output}
    for place in view.places:
        kind = place.node.op_type
        if place.node.domain not in DEFAULT_DOMAINS or table.operators.get(kind) is None:
            continue
        index = MUST_BE_CONSTANT.get(kind)
        late = index is not None and origins.of(place.scope, place.input(index)) != Origin.CONSTANT
        said = [(f"input {index} must be a constant", "fold it into an initializer")] if late else []
        if kind in _SINGLE:
            said += _SINGLE[kind](place, used)
        for reason, repair in said:
            severity: Literal["warning", "error"] = "warning" if reason.startswith(_TAKEN_ANYWAY) else "error"
            yield Finding(severity, "restrictions", place.path, kind, reason, repair)


def _top_k(place: Place, used: set[str]) -> list[Said]:
    found = []
    if place.attribute("sorted", 1) != 1:
        found.append(
            ("sorted is 0, and only sorted results are given", "set sorted to 1: any order was right")
        )
    k = place.constant(1)
    if k is not None and k.size and int(k.reshape(-1)[0]) > MAX_K:
        found.append((f"K is {int(k.reshape(-1)[0])}, at most {MAX_K} is taken", "keep fewer"))
    rank, axis = place.rank(place.input(0)), place.attribute("axis", -1)
    if rank is not None and isinstance(axis, int) and axis % rank < rank - 4:
        found.append((f"axis {axis} is not among the last four", "transpose before it"))
    return found


def _only_first(what: str) -> Callable[[Place, set[str]], list[Said]]:
    def check_outputs(place: Place, used: set[str]) -> list[Said]:
        extra = [name for name in place.node.output[1:] if name in used]
        return [(f"output {name!r}: only the first is given", what) for name in extra]

    return check_outputs


def _pool(place: Place, used: set[str]) -> list[Said]:
    found = _only_first("compute the indices otherwise")(place, used)
    kernel = place.attribute("kernel_shape")
    if isinstance(kernel, list) and len(kernel) not in (2, 3):
        found.append((f"a kernel of {len(kernel)} dimensions, 2 or 3 are taken", "unsqueeze to 2D"))
    return found + _dilations(place, used)


def _dilations(place: Place, used: set[str]) -> list[Said]:
    value = place.attribute("dilations")
    if isinstance(value, list) and any(one != 1 for one in value):
        return [(f"dilations {value}, only ones are taken", "pool a strided slice")]
    return []


def _resize(place: Place, used: set[str]) -> list[Said]:
    found = []
    mode, how = (
        place.attribute("mode", "nearest"),
        place.attribute("coordinate_transformation_mode", _MODES[0]),
    )
    if mode not in ("nearest", "linear"):
        found.append((f"mode {mode}, nearest and linear are taken", "interpolate linearly"))
    if how not in _MODES:
        found.append((f"coordinate_transformation_mode {how}", f"one of {', '.join(_MODES)}"))
    if place.attribute("antialias", 0):
        found.append(("antialias is not supported", "resize without it"))
    if place.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        found.append(("only the aspect ratio policy stretch is taken", "give both sizes"))
    return found


def _zero_point(place: Place, used: set[str]) -> list[Said]:
    value = place.constant(2)
    if value is not None and np.any(value.astype(np.float32) != 0):
        return [("the zero point must be 0", "quantise symmetrically")]
    return []


def _recurrent(place: Place, used: set[str]) -> list[Said]:
    found = []
    names = place.attribute("activations")
    if place.attribute("direction", "forward") == "bidirectional" and isinstance(names, list):
        half = len(names) // 2
        if names[:half] != names[half:]:
            found.append(("other activations forwards than backwards", "use the same"))
    for name in ("input_forget", "layout"):
        if place.node.op_type == "LSTM" and place.attribute(name, 0):
            found.append((f"{name} must be 0", f"export with {name} = 0"))
    return found


def _reduction(place: Place, used: set[str]) -> list[Said]:
    value = place.attribute("reduction", "none")
    return (
        [] if value == "none" else [(f"reduction {value}", "add with a one-hot product, or ScatterElements")]
    )


def _constant_node(place: Place, used: set[str]) -> list[Said]:
    names = {one.name for one in place.node.attribute} & {"sparse_value", "value_string", "value_strings"}
    return [(f"attribute {name}", "write a dense tensor") for name in sorted(names)]


def _four_axes(place: Place, used: set[str]) -> list[Said]:
    rank = place.rank(place.input(0))
    return [] if rank in (None, 4) else [(f"an input of rank {rank}, 4 is taken", "reshape it")]


def _attention(place: Place, used: set[str]) -> list[Said]:
    found = [(f"input {index} is not supported", "concatenate the cache first") for index in (4, 5, 6)
             if place.input(index)]  # fmt: skip
    found += _only_first("leave the cache out")(place, used)
    if place.attribute("softcap", 0.0):
        found.append(("softcap is not supported", "write it out with Tanh"))
    for index in range(3):
        rank = place.rank(place.input(index))
        if rank not in (None, 4):
            found.append((f"input {index} has rank {rank}, 4 is taken", "split the heads first"))
    return found


def _static(place: Place, used: set[str]) -> list[Said]:
    shape = shape_of(place.scope, place.input(0))
    return [] if shape is None or None not in shape else [("its input's shape must be fixed", "fix it")]


_SINGLE: dict[str, Callable[[Place, set[str]], list[Said]]] = {
    "TopK": _top_k,
    "LayerNormalization": _only_first("compute the mean otherwise"),
    "MaxPool": _pool,
    "AveragePool": _pool,
    "LpPool": _dilations,
    "Resize": _resize,
    "QuantizeLinear": _zero_point,
    "DequantizeLinear": _zero_point,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "ScatterND": _reduction,
    "Constant": _constant_node,
    "GridSample": _four_axes,
    "Attention": _attention,
    "EyeLike": _static,
}
