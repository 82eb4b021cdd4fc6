"""Neuron nodes as tables of numbers for the kernels.

NIR's equations are in continuous time; a step of `dt` is one explicit Euler step, as snnTorch, SpikingJelly
and the others take it:

    tau dv/dt = (v_leak - v) + R I        v = v (1 - dt/tau) + (dt/tau) v_leak + (dt/tau) R x
    dv/dt = R I                           v = v + dt R x
    tau_syn dI/dt = -I + w_in S           i = i (1 - dt/tau_syn) + (dt/tau_syn) w_in x,   x := i

and then spike = v >= v_threshold, with v = v_reset, or v = v - v_threshold, where it spiked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.spiking.kernels import FIELDS
from paring_runtimes.spiking.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.spiking.nir_file import NirNode

SPIKING = ("IF", "LIF", "CubaLIF")
SILENT = ("I", "LI", "CubaLI")  # their output is the membrane
NEURONS = (*SPIKING, *SILENT)
_UNLIKELY_R = 100.0  # an integrator's resistance that speaks of a time step in seconds


@dataclass(frozen=True)
class Neurons:
    """One layer of neurons.

    Attributes:
        layout: how they lie in memory.
        table: float32, flat [blocks, positions (or 1), FIELDS, lanes].
        stride: 1 where positions have parameters of their own, else 0.
        spiking: whether they send spikes; otherwise their membranes are the output.
        leaky: there is a synaptic current with a decay of its own.
        idle: without input nothing changes, so that such neurons need not be looked at.
        initial: float32 [size], the membranes before the first step, blocked.
    """

    layout: Layout
    table: NDArray[np.float32]
    stride: int
    spiking: bool
    leaky: bool
    idle: bool
    initial: NDArray[np.float32]

    def at_threshold(self, membrane: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return [B, blocks, positions]: whether a neuron there is at threshold; membrane [B, size]."""
        shape = self.layout
        table = self.table.reshape(shape.blocks, -1, len(FIELDS), shape.lanes)
        threshold = table[:, :, FIELDS.index("threshold"), :]
        held = membrane.reshape(-1, shape.blocks, shape.positions, shape.lanes)
        return np.ascontiguousarray((held >= threshold).any(-1).astype(np.uint8))


def neurons_of(path: Path, name: str, node: NirNode, layout: Layout, dt: float, soft: bool) -> Neurons:
    """Lower a node; `soft`: reset by subtraction of the threshold.

    Raises:
        EngineError: a parameter does not fit the node's shape, or a time constant is shorter than `dt`.
    """
    fields = {
        key: _of_shape(path, name, key, value, layout.shape)
        for key, value in node.fields.items()
        if key != "v_reset" or not soft
    }
    whole = _table(path, name, node.kind, fields, dt, soft)
    numbers = np.stack(  # [FIELDS, N]
        [np.broadcast_to(np.asarray(whole[key], np.float64), layout.shape).reshape(-1) for key in FIELDS]
    )
    fill = np.zeros(len(FIELDS))
    fill[FIELDS.index("threshold")] = np.inf
    rows = np.stack([layout.blocked(row, pad) for row, pad in zip(numbers, fill, strict=True)])
    rows = rows.reshape(len(FIELDS), layout.blocks, layout.positions, layout.lanes).transpose(1, 2, 0, 3)
    same = bool((rows == rows[:, :1]).all())  # at every position
    told = node.metadata.get("v_initial", 0.0)
    initial = _of_shape(path, name, "metadata v_initial", np.asarray(told, np.float64), layout.shape)
    return Neurons(
        layout=layout,
        table=np.ascontiguousarray(rows[:, :1] if same else rows).reshape(-1),
        stride=0 if same else 1,
        spiking=node.kind in SPIKING,
        leaky=node.kind.startswith("Cuba"),
        idle=node.kind in ("I", "IF"),
        initial=layout.blocked(np.broadcast_to(initial, layout.shape).reshape(-1)),
    )


def _of_shape(
    path: Path, name: str, key: str, value: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    array = np.asarray(value, np.float64)
    if array.size == 1:
        return array.reshape(())
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        raise EngineError(
            f"{path}: node {name!r}: {key} has shape {array.shape}, and what comes in has {shape}"
        ) from None
    return array


def _table(
    path: Path, name: str, kind: str, fields: dict[str, NDArray[np.float64]], dt: float, soft: bool
) -> dict[str, NDArray[np.float64] | float]:
    found: dict[str, NDArray[np.float64] | float] = dict.fromkeys(FIELDS, 0.0)
    found["threshold"] = fields.get("v_threshold", np.inf)
    if kind in ("I", "IF"):
        _check_r(path, name, fields["r"], dt)
        found |= {"decay": 1.0, "gain": fields["r"] * dt}
    else:
        key = "tau_mem" if kind.startswith("Cuba") else "tau"
        step = _step(path, name, key, fields[key], dt)
        found |= {"decay": 1 - step, "gain": step * fields["r"], "offset": step * fields["v_leak"]}
    if kind.startswith("Cuba"):
        step = _step(path, name, "tau_syn", fields["tau_syn"], dt)
        found |= {"syn_decay": 1 - step, "syn_gain": step * fields.get("w_in", np.float64(1))}
    if soft:
        found |= {"keep": 1.0, "after": -np.asarray(found["threshold"])}
    elif kind in SPIKING:  # NIR files before 1.0.5 know no v_reset; NIR reads them as 0
        found["after"] = fields.get("v_reset", np.float64(0))
    return found


def _step(path: Path, name: str, key: str, tau: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
    if (tau < dt).any():
        raise EngineError(
            f"{path}: node {name!r}: {key} is {tau.min():g}, shorter than a step, dt={dt:g}; files whose "
            "time is in seconds need their own step, most often dt=1e-4"
        )
    return dt / tau


def _check_r(path: Path, name: str, r: NDArray[np.float64], dt: float) -> None:
    if dt == 1 and np.abs(r).min() >= _UNLIKELY_R:
        raise EngineError(
            f"{path}: node {name!r}: r is {np.abs(r).min():g}, which speaks of a step in seconds; open the "
            f"file with its step, as dt={1 / float(np.abs(r).min()):g}"
        )
