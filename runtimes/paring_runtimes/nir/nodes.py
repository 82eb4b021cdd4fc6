"""The nodes of NIR, one dataclass a type. Field names are the keys in the file; shapes are without a batch.

A field's type says what its dataset holds: an array of numbers, an integer, a pair of integers (or one that
counts for both), a pair or a word ("same", "valid"), a shape (an integer an axis). A field with a default may
be missing from the file.

Times are in seconds by NIR's convention, or in whatever unit the simulation's step is told in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Input:
    """Where values come in, [shape]."""

    shape: Shape
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Output:
    """Where values go out, [shape]."""

    shape: Shape
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Affine:
    """y = W x + b; weight [out, in], bias [out]."""

    weight: np.ndarray
    bias: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Linear:
    """y = W x; weight [out, in]."""

    weight: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scale:
    """y = s x, element by element."""

    scale: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Conv1d:
    """Convolution; weight [out, in / groups, k], bias [out], input_shape L."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int | str
    dilation: int
    groups: int
    input_shape: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Conv2d:
    """Convolution; weight [out, in / groups, kh, kw], bias [out], input_shape (height, width)."""

    weight: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int]
    padding: tuple[int, int] | str
    dilation: tuple[int, int]
    groups: int
    input_shape: tuple[int, int] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SumPool2d:
    """Sums over windows; all (height, width)."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AvgPool2d:
    """Means over windows, zeros of the padding counted; all (height, width)."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Flatten:
    """Axes start_dim to end_dim, both included, become one. Axes are counted without the batch."""

    start_dim: int = 1
    end_dim: int = -1
    input_type: Shape | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Delay:
    """y(t) = x(t - delay)."""

    delay: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Threshold:
    """z = 1 where x > threshold, else 0."""

    threshold: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class I:  # noqa: E742 - NIR's own name
    """Integrator: dv/dt = r x."""

    r: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class IF:
    """Integrate and fire: dv/dt = r x; a spike where v > v_threshold, and there v = v_reset."""

    r: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LI:
    """Leaky integrator: tau dv/dt = (v_leak - v) + r x."""

    tau: np.ndarray
    r: np.ndarray
    v_leak: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LIF:
    """Leaky integrate and fire: `LI`; a spike where v > v_threshold, and there v = v_reset."""

    tau: np.ndarray
    r: np.ndarray
    v_leak: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CubaLI:
    """Current-based leaky integrator: tau_syn di/dt = w_in x - i; tau_mem dv/dt = (v_leak - v) + r i."""

    tau_syn: np.ndarray
    tau_mem: np.ndarray
    r: np.ndarray
    v_leak: np.ndarray
    w_in: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CubaLIF:
    """`CubaLI`, with a spike where v > v_threshold, and there v = v_reset."""

    tau_syn: np.ndarray
    tau_mem: np.ndarray
    r: np.ndarray
    v_leak: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray | None = None
    w_in: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


Node: TypeAlias = (
    Input
    | Output
    | Affine
    | Linear
    | Scale
    | Conv1d
    | Conv2d
    | SumPool2d
    | AvgPool2d
    | Flatten
    | Delay
    | Threshold
    | I
    | IF
    | LI
    | LIF
    | CubaLI
    | CubaLIF
)
Neuron: TypeAlias = I | IF | LI | LIF | CubaLI | CubaLIF
Elementwise: TypeAlias = Neuron | Scale | Delay | Threshold

NODE_TYPES: dict[str, type[Node]] = {kind.__name__: kind for kind in Node.__args__}
NEURONS: tuple[type[Neuron], ...] = Neuron.__args__
ELEMENTWISE: tuple[type[Elementwise], ...] = Elementwise.__args__
