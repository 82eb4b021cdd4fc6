"""What each module of a spiking network is in NIR: a node, or a few that compute the same.

NIR has no soft reset, no initial membrane, no average pooling along one axis and none that leaves the
padding out, and no scales and shifts by channel; these are written as nodes that it has:

- **Soft reset**: an integrator, a threshold, and the spikes scaled by -threshold back into the integrator,
  which arrive one step later, before that step's input: the same spikes, the same float32 sums.
- **Initial membrane v0**: the membrane is counted from v0, u = v - v0, so that u starts at NIR's 0 and fires
  at threshold - v0; hard reset goes to v_reset - v0.
- **Firing at equality**: NIR fires where v > v_threshold; written is the float32 just below the threshold,
  the same for float32 membranes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import nn

from paring.transforms._spikes import layers
from paring.transforms._spikes.neuron import IntegrateFire
from paring_runtimes.nir import NirRefused, Node
from paring_runtimes.nir import nodes as nir
from paring_runtimes.nir.nodes import Shape

MEMBRANE, RESET, SUM = "_membrane", "_reset", "_sum"


@dataclass(frozen=True)
class Piece:
    """Nodes by what is put behind the module's name. `rewritten` says what NIR has no node for.

    `nodes` is empty where the module does nothing.
    """

    nodes: Mapping[str, Node]
    enter: str = ""
    leave: str = ""
    edges: tuple[tuple[str, str], ...] = ()
    rewritten: tuple[str, ...] = field(default=())


@singledispatch
def piece_of(module: nn.Module, taken: Shape, given: Shape) -> Piece:
    """The nodes of a module that takes [B, *taken] and gives [B, *given].

    Raises:
        NirRefused: NIR cannot say it.
    """
    raise NirRefused(_reason(module))


def _reason(module: nn.Module) -> str:
    kind = type(module).__name__
    if "MaxPool" in kind:
        return "NIR has no max pooling; average pooling, or a strided convolution, can be said"
    if "Norm" in kind:
        return f"NIR has no {kind}: its statistics depend on the input"
    if "Attention" in kind:
        return "NIR has no attention: it multiplies activations with each other"
    if kind in ("ReLU", "GELU", "SiLU", "Sigmoid", "Tanh", "Hardtanh", "Softmax", "ELU", "LeakyReLU"):
        return f"NIR has no {kind}; convert the network to spikes first"
    return f"NIR has no {kind}"


@piece_of.register(nn.Identity)
@piece_of.register(nn.Dropout)
@piece_of.register(nn.Dropout1d)
@piece_of.register(nn.Dropout2d)
def _(module: nn.Module, taken: Shape, given: Shape) -> Piece:
    return Piece({})


@piece_of.register
def _(module: nn.Linear, taken: Shape, given: Shape) -> Piece:
    if len(taken) != 1:
        raise NirRefused(f"a linear layer over the last axis of {list(taken)}; NIR's takes a vector")
    if module.bias is None:
        return Piece({"": nir.Linear(_array(module.weight))})
    return Piece({"": nir.Affine(_array(module.weight), _array(module.bias))})


@piece_of.register
def _(module: nn.Conv1d, taken: Shape, given: Shape) -> Piece:
    _zeros_around(module)
    padding = module.padding if isinstance(module.padding, str) else int(module.padding[0])
    return Piece(
        {
            "": nir.Conv1d(
                weight=_array(module.weight),
                bias=_bias(module),
                stride=int(module.stride[0]),
                padding=padding,
                dilation=int(module.dilation[0]),
                groups=module.groups,
                input_shape=taken[1],
            )
        }
    )


@piece_of.register
def _(module: nn.Conv2d, taken: Shape, given: Shape) -> Piece:
    _zeros_around(module)
    return Piece(
        {
            "": nir.Conv2d(
                weight=_array(module.weight),
                bias=_bias(module),
                stride=_pair(module.stride),
                padding=module.padding if isinstance(module.padding, str) else _pair(module.padding),
                dilation=_pair(module.dilation),
                groups=module.groups,
                input_shape=(taken[1], taken[2]),
            )
        }
    )


def _zeros_around(module: nn.Conv1d | nn.Conv2d) -> None:
    padded = module.padding not in ("valid", 0) and any(module.padding)
    if module.padding_mode != "zeros" and padded:
        raise NirRefused(f"padding_mode {module.padding_mode!r}: NIR pads with zeros")


def _bias(module: nn.Conv1d | nn.Conv2d) -> np.ndarray:
    return np.zeros(module.out_channels, np.float32) if module.bias is None else _array(module.bias)


@piece_of.register
def _(module: nn.AvgPool2d, taken: Shape, given: Shape) -> Piece:
    kernel = _pair(module.kernel_size)
    stride = kernel if module.stride is None else _pair(module.stride)
    padding = _pair(module.padding)
    plain = nir.SumPool2d(kernel, stride, padding)
    if _floored(taken, kernel, stride, padding) != given[1:]:
        raise NirRefused(f"ceil_mode: a window beyond the edge of {list(taken)}, which NIR cannot say")
    if module.divisor_override is None and (module.count_include_pad or not any(padding)):
        return Piece({"": nir.AvgPool2d(kernel, stride, padding)})
    with torch.inference_mode():  # what each window's sum is divided by
        means, sums = module(torch.ones(1, *taken)), nn.AvgPool2d(kernel, stride, padding, divisor_override=1)
        share = means / sums(torch.ones(1, *taken))
    told = "average pooling that does not count its padding, or divides by another number: sums, scaled"
    return Piece({SUM: plain, "": nir.Scale(_array(share[0]))}, SUM, "", ((SUM, ""),), (told,))


@piece_of.register
def _(module: nn.AvgPool1d, taken: Shape, given: Shape) -> Piece:
    kernel, stride, padding = (_one(size) for size in (module.kernel_size, module.stride, module.padding))
    if module.ceil_mode or (padding and not module.count_include_pad):
        raise NirRefused("average pooling along one axis with ceil_mode or without its padding")
    channels = taken[0]
    weight = np.full((channels, 1, kernel), 1 / kernel, np.float32)
    bias = np.zeros(channels, np.float32)
    node = nir.Conv1d(weight, bias, stride, padding, 1, channels, taken[1])
    return Piece({"": node}, rewritten=("average pooling along one axis: a convolution by channel",))


@piece_of.register
def _(module: nn.Flatten, taken: Shape, given: Shape) -> Piece:
    first, last = (dim + len(taken) + 1 if dim < 0 else dim for dim in (module.start_dim, module.end_dim))
    return flattened(first, last, taken)


def flattened(first: int, last: int, taken: Shape) -> Piece:
    """Flattening of axes counted with the batch, which is axis 0."""
    if first < 1:
        raise NirRefused("flattens the batch too")
    if len(taken) == 1:
        return Piece({})
    return Piece({"": nir.Flatten(first - 1, last - 1, taken)})


@piece_of.register(nn.BatchNorm1d)
@piece_of.register(nn.BatchNorm2d)
def _(module: nn.BatchNorm1d | nn.BatchNorm2d, taken: Shape, given: Shape) -> Piece:
    if module.running_mean is None or module.running_var is None:
        raise NirRefused("batch norm by the batch's own statistics")
    deviation = torch.sqrt(module.running_var.double() + module.eps)
    gain = torch.ones(()) if module.weight is None else module.weight.double()
    scale = gain / deviation
    shift = -module.running_mean.double() * scale
    if module.bias is not None:
        shift = shift + module.bias.double()
    return by_channel(scale.float(), shift.float(), taken)


def by_channel(scale: torch.Tensor, shift: torch.Tensor, taken: Shape) -> Piece:
    """scale * x + shift for each channel, [C] both: a convolution of one tap in as many groups."""
    channels, axes = taken[0], len(taken) - 1
    weight = _array(scale).reshape(channels, 1, *(1,) * axes)
    bias = _array(shift)
    if axes == 1:
        node: Node = nir.Conv1d(weight, bias, 1, 0, 1, channels, taken[1])
    elif axes == 2:
        node = nir.Conv2d(weight, bias, (1, 1), (0, 0), (1, 1), channels, (taken[1], taken[2]))
    else:
        node = nir.Affine(np.diag(weight.reshape(-1)), bias)
    return Piece({"": node}, rewritten=("scales and shifts by channel: a layer of one tap",))


@piece_of.register
def _(module: IntegrateFire, taken: Shape, given: Shape) -> Piece:
    threshold, initial = (_full(value, taken) for value in (module.threshold, module.initial))
    level = just_below(threshold - initial)
    ones = np.ones(taken, np.float32)
    told = ("initial membrane: counted from it",) if initial.any() else ()
    if module.reset == "hard":
        after = np.float32(module.reset_to) - initial
        return Piece({"": nir.IF(ones, level, after if after.any() else None)}, rewritten=told)
    nodes: dict[str, Node] = {MEMBRANE: nir.I(ones), "": nir.Threshold(level), RESET: nir.Scale(-threshold)}
    edges = ((MEMBRANE, ""), ("", RESET), (RESET, MEMBRANE))
    return Piece(nodes, MEMBRANE, "", edges, ("soft reset: integrator, threshold and feedback", *told))


@piece_of.register
def _(module: layers.Scale, taken: Shape, given: Shape) -> Piece:
    return scaled(module.scale, taken)


def just_below(threshold: np.ndarray) -> np.ndarray:
    """The greatest float32 below: v > it is v >= threshold, for every float32 v."""
    return np.nextafter(threshold, np.float32(-np.inf))


def scaled(scale: torch.Tensor, taken: Shape) -> Piece:
    """scale * x."""
    return Piece({"": nir.Scale(_full(scale, taken))})


def _full(values: torch.Tensor, shape: Shape) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(_array(values), shape))


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().float().numpy().copy()


def _pair(value: Any) -> tuple[int, int]:
    first, last = (value, value) if isinstance(value, int) else value
    return int(first), int(last)


def _one(value: Any) -> int:
    return int(value if isinstance(value, int) else value[0])


def _floored(taken: Shape, kernel: Shape, stride: Shape, padding: Shape) -> Shape:
    axes = zip(taken[1:], kernel, stride, padding, strict=True)
    return tuple((size + 2 * width - span) // step + 1 for size, span, step, width in axes)
