"""Neuron nodes as tables of numbers for the kernels.

NIR's equations are in continuous time; a step of dt is one explicit Euler step, as snnTorch, SpikingJelly
and Norse take it:

    tau dv/dt = (v_leak - v) + r x        v = v (1 - dt/tau) + (dt/tau) v_leak + (dt/tau) r x
    dv/dt = r x                           v = v + dt r x
    tau_syn di/dt = w_in x - i            i = i (1 - dt/tau_syn) + (dt/tau_syn) w_in x, then x := i

and then a spike where v > v_threshold, strictly, as NIR says, and there v = v_reset (0 where a file says
none). The kernels compare with >=, against the next float32 above: the same for every float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paring_runtimes.nir import Node
from paring_runtimes.nir.nodes import IF, LI, LIF, CubaLI, CubaLIF, I
from paring_runtimes.spiking.kernels import FIELDS
from paring_runtimes.spiking.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.spiking.graph import Task

Numbers = dict[str, "NDArray[np.float64] | float"]


@dataclass(frozen=True)
class Neurons:
    """One layer of neurons. Membranes start at 0.

    Attributes:
        layout: how they lie in memory.
        table: float32, flat [blocks, positions (or 1), FIELDS, lanes].
        stride: 1 where positions have parameters of their own, else 0.
        spiking: whether they send spikes; otherwise their membranes are the output.
        leaky: there is a synaptic current with a decay of its own.
        idle: without input nothing changes, so that such neurons need not be looked at.
    """

    layout: Layout
    table: NDArray[np.float32]
    stride: int
    spiking: bool
    leaky: bool
    idle: bool

    def field(self, name: str) -> NDArray[np.float32]:
        """Return one parameter [blocks, positions (or 1), lanes]."""
        table = self.table.reshape(self.layout.blocks, -1, len(FIELDS), self.layout.lanes)
        return table[:, :, FIELDS.index(name)]

    def at_threshold(self, membrane: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return [B, blocks, positions]: whether a neuron there is at threshold; membrane [B, size]."""
        shape = self.layout
        held = membrane.reshape(-1, shape.blocks, shape.positions, shape.lanes)
        return np.ascontiguousarray((held >= self.field("threshold")).any(-1).astype(np.uint8))


def neurons_of(task: Task, layout: Layout, dt: float) -> Neurons:
    """Lower a node; its parameters are of its shape, or single numbers for all."""
    whole = _table(task.node, dt)
    if task.feedback is not None:
        whole |= {"keep": 1.0, "after": task.feedback.astype(np.float64)}
    numbers = np.stack(  # [FIELDS, N]
        [np.broadcast_to(_shaped(whole[key]), layout.shape).reshape(-1) for key in FIELDS]
    )
    at = FIELDS.index("threshold")
    fill = np.zeros(len(FIELDS))
    fill[at] = np.inf
    rows = np.stack([layout.blocked(row, pad) for row, pad in zip(numbers, fill, strict=True)])
    rows[at] = np.nextafter(rows[at], np.float32(np.inf))
    rows = rows.reshape(len(FIELDS), layout.blocks, layout.positions, layout.lanes).transpose(1, 2, 0, 3)
    same = bool((rows == rows[:, :1]).all())  # at every position
    return Neurons(
        layout=layout,
        table=np.ascontiguousarray(rows[:, :1] if same else rows).reshape(-1),
        stride=0 if same else 1,
        spiking=isinstance(task.node, (IF, LIF, CubaLIF)),
        leaky=isinstance(task.node, (CubaLI, CubaLIF)),
        idle=isinstance(task.node, (I, IF)),
    )


def _shaped(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
    array = np.asarray(value, np.float64)
    return array.reshape(()) if array.size == 1 else array


def _table(node: Node, dt: float) -> Numbers:
    found: Numbers = dict.fromkeys(FIELDS, 0.0)
    found["threshold"] = np.inf
    if isinstance(node, (I, IF)):
        found |= {"decay": 1.0, "gain": np.asarray(node.r, np.float64) * dt}
    elif isinstance(node, (LI, LIF, CubaLI, CubaLIF)):
        tau = node.tau if isinstance(node, (LI, LIF)) else node.tau_mem
        step = dt / np.asarray(tau, np.float64)
        found |= {"decay": 1 - step, "gain": step * node.r, "offset": step * node.v_leak}
    if isinstance(node, (CubaLI, CubaLIF)):
        step = dt / np.asarray(node.tau_syn, np.float64)
        found |= {"syn_decay": 1 - step, "syn_gain": step * (1.0 if node.w_in is None else node.w_in)}
    if isinstance(node, (IF, LIF, CubaLIF)):
        found["threshold"] = np.asarray(node.v_threshold, np.float64)
        found["after"] = 0.0 if node.v_reset is None else np.asarray(node.v_reset, np.float64)
    return found
