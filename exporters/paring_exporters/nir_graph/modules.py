"""One torch module a node, float32. See `discretisation` for the arithmetic of a step.

A module without state maps x [B, ...] to y. A neuron or a delay maps (late, now, state) to (y, state): `late`
is the sum of what comes by edges that close a cycle, `now` of the rest, either None.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import nn

from paring_runtimes.nir import NirRefused, Node
from paring_runtimes.nir.nodes import (
    IF,
    LI,
    LIF,
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLI,
    CubaLIF,
    Delay,
    Flatten,
    I,
    Input,
    Linear,
    Output,
    Scale,
    Shape,
    SumPool2d,
    Threshold,
)

from .discretisation import Reading

State = tuple[torch.Tensor, ...]


class Stateful(nn.Module):
    """What keeps a state from step to step."""

    def begin(self, like: torch.Tensor) -> State:
        """The state before the first step, for inputs like this one [B, ...]."""
        raise NotImplementedError

    def forward(
        self, late: torch.Tensor | None, now: torch.Tensor | None, state: State
    ) -> tuple[torch.Tensor, State]:
        """One step."""
        raise NotImplementedError


class Fire(nn.Module):
    """v -> spikes and v after them. Buffers: `level`, the least float32 that fires, and what v becomes."""

    level: torch.Tensor
    after: torch.Tensor

    def __init__(self, threshold: np.ndarray, v_reset: np.ndarray | None, reset: str) -> None:
        super().__init__()
        self.register_buffer("level", just_above(threshold))
        self.subtracts = v_reset is None and reset == "subtract"
        told = threshold if self.subtracts else np.zeros(()) if v_reset is None else v_reset
        self.register_buffer("after", _real(told))

    def forward(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, ...] -> spikes 0 or 1, and the membrane after them."""
        fired = v >= self.level
        return fired.to(v.dtype), torch.where(fired, v - self.after if self.subtracts else self.after, v)


class Integrator(Stateful):
    """I and IF. Buffer: `gain` = dt r."""

    gain: torch.Tensor

    def __init__(self, gain: torch.Tensor, fire: Fire | None) -> None:
        super().__init__()
        self.register_buffer("gain", gain)
        self.fire = fire

    def begin(self, like: torch.Tensor) -> State:
        """The membrane: 0."""
        return (torch.zeros_like(like),)

    def forward(
        self, late: torch.Tensor | None, now: torch.Tensor | None, state: State
    ) -> tuple[torch.Tensor, State]:
        """v += gain late; v += gain now."""
        (v,) = state
        for part in (late, now):
            v = v if part is None else v + self.gain * part
        return _fired(self.fire, v)


class Leaky(Stateful):
    """LI and LIF. Buffers: `share` = dt / tau, `r`, `leak`."""

    share: torch.Tensor
    r: torch.Tensor
    leak: torch.Tensor

    def __init__(self, share: torch.Tensor, r: torch.Tensor, leak: torch.Tensor, fire: Fire | None) -> None:
        super().__init__()
        for name, value in (("share", share), ("r", r), ("leak", leak)):
            self.register_buffer(name, value)
        self.fire = fire

    def begin(self, like: torch.Tensor) -> State:
        """The membrane: 0."""
        return (torch.zeros_like(like),)

    def forward(
        self, late: torch.Tensor | None, now: torch.Tensor | None, state: State
    ) -> tuple[torch.Tensor, State]:
        """v += dt/tau ((leak - v) + r x)."""
        return _fired(self.fire, self.leaked(state[0], together(late, now)))

    def leaked(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The membrane before it may fire."""
        return v + self.share * ((self.leak - v) + self.r * x)


class CurrentBased(Leaky):
    """CubaLI and CubaLIF. Buffers besides: `share_syn` = dt / tau_syn, `w_in`."""

    share_syn: torch.Tensor
    w_in: torch.Tensor

    def __init__(
        self,
        share: torch.Tensor,
        r: torch.Tensor,
        leak: torch.Tensor,
        fire: Fire | None,
        share_syn: torch.Tensor,
        w_in: torch.Tensor,
    ) -> None:
        super().__init__(share, r, leak, fire)
        self.register_buffer("share_syn", share_syn)
        self.register_buffer("w_in", w_in)

    def begin(self, like: torch.Tensor) -> State:
        """The membrane and the synaptic current: 0."""
        return torch.zeros_like(like), torch.zeros_like(like)

    def forward(
        self, late: torch.Tensor | None, now: torch.Tensor | None, state: State
    ) -> tuple[torch.Tensor, State]:
        """i += dt/tau_syn (w_in x - i), then the membrane with the new i."""
        v, i = state
        i = i + self.share_syn * (self.w_in * together(late, now) - i)
        y, (v,) = _fired(self.fire, self.leaked(v, i))
        return y, (v, i)


class Delayed(Stateful):
    """Delay: each element by its own whole number of steps. Buffer: `steps`."""

    steps: torch.Tensor

    def __init__(self, steps: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("steps", steps)
        self.longest = int(steps.max())
        self.late = bool(steps.min() >= 1)  # the output does not depend on this step's input

    def begin(self, like: torch.Tensor) -> State:
        """The inputs of the steps before, the newest first [longest, B, ...]: 0."""
        return (like.new_zeros(self.longest, *like.shape),)

    def forward(
        self, late: torch.Tensor | None, now: torch.Tensor | None, state: State
    ) -> tuple[torch.Tensor, State]:
        """What came in `steps` before. `read` and `keep` in one."""
        x = together(late, now)
        return self.read(state, x), self.keep(state, x)

    def read(self, state: State, now: torch.Tensor | None = None) -> torch.Tensor:
        """[B, ...]; `now` is needed where an element is not delayed at all."""
        (before,) = state
        known = before if now is None else torch.cat((now[None], before))
        index = self.steps - 1 if now is None else self.steps
        return known.gather(0, index.expand(known.shape[1:])[None])[0]

    def keep(self, state: State, x: torch.Tensor) -> State:
        """The state with this step's input."""
        return (torch.cat((x[None], state[0]))[: self.longest],)


class Step(nn.Module):
    """Threshold: 1 where x fires."""

    level: torch.Tensor

    def __init__(self, threshold: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("level", just_above(threshold))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> 0 or 1."""
        return (x >= self.level).to(x.dtype)


class Times(nn.Module):
    """Scale: x times `scale`."""

    def __init__(self, scale: np.ndarray) -> None:
        super().__init__()
        self.scale = nn.Parameter(_real(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] -> the same shape."""
        return self.scale * x


class SumPool(nn.AvgPool2d):
    """Sums over windows: means whose divisor is one."""


def together(late: torch.Tensor | None, now: torch.Tensor | None) -> torch.Tensor:
    """The sum of what comes in."""
    if late is None or now is None:
        found = now if late is None else late
        assert found is not None  # every node is fed: see `check_edges`
        return found
    return late + now


def just_above(threshold: np.ndarray) -> torch.Tensor:
    """The least float32 above a threshold: v > threshold is v >= this, for every float32 v."""
    return torch.from_numpy(np.nextafter(np.asarray(threshold, np.float32), np.float32(np.inf)))


def _fired(fire: Fire | None, v: torch.Tensor) -> tuple[torch.Tensor, State]:
    if fire is None:
        return v, (v,)
    spikes, v = fire(v)
    return spikes, (v,)


def _real(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32))


@singledispatch
def module_of(node: Node, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    """The module of a node that takes [B, *shape].

    Raises:
        NirRefused: a delay that is no whole number of steps.
    """
    raise TypeError(f"no module for {type(node).__name__}")


@module_of.register(Input)
@module_of.register(Output)
def _(node: Input | Output, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    return nn.Identity()


@module_of.register(Affine)
@module_of.register(Linear)
def _(node: Affine | Linear, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    out, inner = node.weight.shape
    return _filled(nn.Linear(inner, out, bias=isinstance(node, Affine), device="meta"), node)


@module_of.register(Conv1d)
@module_of.register(Conv2d)
def _(node: Conv1d | Conv2d, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    kind: Any = nn.Conv1d if isinstance(node, Conv1d) else nn.Conv2d
    out, inner, *kernel = node.weight.shape
    empty = kind(
        inner * node.groups,
        out,
        tuple(kernel),
        stride=node.stride,
        padding=node.padding,
        dilation=node.dilation,
        groups=node.groups,
        device="meta",
    )
    return _filled(empty, node)


def _filled(module: nn.Module, node: Affine | Linear | Conv1d | Conv2d) -> nn.Module:
    """`module` with the weights of the node."""
    values = {"weight": _real(node.weight)}
    if not isinstance(node, Linear):
        values["bias"] = _real(node.bias)
    module.load_state_dict(values, assign=True)
    return module


@module_of.register
def _(node: SumPool2d, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    return SumPool(node.kernel_size, node.stride, node.padding, divisor_override=1)


@module_of.register
def _(node: AvgPool2d, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    return nn.AvgPool2d(node.kernel_size, node.stride, node.padding)


@module_of.register
def _(node: Flatten, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    if len(shape) == 1:
        return nn.Identity()
    first, last = (dim + len(shape) if dim < 0 else dim for dim in (node.start_dim, node.end_dim))
    return nn.Flatten(first + 1, last + 1)  # after the batch


@module_of.register
def _(node: Scale, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    return Times(node.scale)


@module_of.register
def _(node: Threshold, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    return Step(node.threshold)


@module_of.register
def _(node: Delay, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    exact = np.asarray(node.delay, np.float64) / dt
    steps = np.round(exact)
    if (steps < 0).any() or not np.allclose(exact, steps, rtol=1e-4, atol=1e-4):
        raise NirRefused(f"delay {np.ravel(node.delay)[0]:g}, expected whole numbers of steps of dt = {dt:g}")
    return Delayed(torch.from_numpy(np.broadcast_to(steps, shape).astype(np.int64)))


@module_of.register(I)
@module_of.register(IF)
def _(node: I | IF, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    return Integrator(_real(np.asarray(node.r, np.float64) * dt), _fire(node, reading))


@module_of.register(LI)
@module_of.register(LIF)
def _(node: LI | LIF, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    share = _real(dt / np.asarray(node.tau, np.float64))
    return Leaky(share, _real(node.r), _real(node.v_leak), _fire(node, reading))


@module_of.register(CubaLI)
@module_of.register(CubaLIF)
def _(node: CubaLI | CubaLIF, shape: Shape, dt: float, reading: Reading) -> nn.Module:
    share, share_syn = (_real(dt / np.asarray(tau, np.float64)) for tau in (node.tau_mem, node.tau_syn))
    w_in = _real(1.0 if node.w_in is None else node.w_in)
    return CurrentBased(share, _real(node.r), _real(node.v_leak), _fire(node, reading), share_syn, w_in)


def _fire(node: I | IF | LI | LIF | CubaLI | CubaLIF, reading: Reading) -> Fire | None:
    if isinstance(node, (IF, LIF, CubaLIF)):
        return Fire(node.v_threshold, node.v_reset, reading.reset)
    return None


def trained(node: Node, module: nn.Module) -> dict[str, np.ndarray]:
    """The arrays of a node that the module's parameters have moved away from, in the node's own dtype."""
    found = {}
    for key, value in module.named_parameters(recurse=False):
        told, now = getattr(node, key), value.detach().cpu().numpy()
        if not np.array_equal(now, np.asarray(told, np.float32)):
            found[key] = now.astype(told.dtype)
    return found
