"""Prices a load: energy by part and time of an inference, each with its constants' range. Modelled.

The range's ends take every constant at its low or at its high end at once. What no constant prices is named
in `missing`; a total with something missing is "at least".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .chip import Chip
from .load import Load
from .mapper import Placed

End = Literal["value", "low", "high"]
ENDS: tuple[End, ...] = ("value", "low", "high")

PARTS = {  # of the energy: the constant that prices it
    "synaptic operations": "synaptic_operation_pj",
    "multiply-accumulates": "mac_pj",
    "active updates": "active_update_pj",
    "inactive updates": "inactive_update_pj",
    "spikes sent": "spike_pj",
    "hops": "hop_x_pj",
    "static": "static_mw",
}


@dataclass(frozen=True)
class Range:
    """A figure, and where it lies at the constants' ends."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Energy:
    """Of one inference, nJ. Modelled.

    Attributes:
        parts: by part of `PARTS`.
        total: of the parts that are priced; None when none is.
        missing: what happened and has no price.
    """

    parts: dict[str, Range]
    total: Range | None
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Latency:
    """Of one inference, microseconds; the mean over the timed inferences. Modelled.

    Attributes:
        total: of all steps; None when no time is known.
        slowest_step: the longest step.
        missing: what takes time and has no constant.
    """

    total: Range | None
    slowest_step: Range | None
    missing: tuple[str, ...]


def latency(placed: Placed, load: Load) -> Latency:
    """Time of an inference: each step lasts as long as its slowest core, then all synchronise."""
    timing = placed.chip.timing
    if timing.step_ns is not None:
        each = {end: float(getattr(timing.step_ns, end)) / 1e3 for end in ENDS}
        return Latency(_range({end: each[end] * load.steps for end in ENDS}), _range(each), ())
    if timing.synaptic_operation_ns is None:
        return Latency(None, None, ("synaptic operations", "updates", "hops", "barrier"))
    steps = {end: _step_ns(placed, load, end) for end in ENDS}  # [samples, T]
    missing = []
    if timing.active_update_ns is None:
        missing.append("updates")
    if timing.barrier_one_router_ns is None:
        missing.append("barrier")
    if timing.hop_x_ns is None and load.messages:
        missing.append("hops")
    if load.total_macs:
        missing.append("multiply-accumulates")
    return Latency(
        _range({end: float(steps[end].sum(axis=1).mean()) / 1e3 for end in ENDS}),
        _range({end: float(steps[end].max()) / 1e3 for end in ENDS}),
        tuple(missing),
    )


def _step_ns(placed: Placed, load: Load, end: End) -> NDArray[np.float64]:
    """[samples, T]: nanoseconds of each step."""

    def at(name: str) -> float:
        found = getattr(placed.chip.timing, name)
        return 0.0 if found is None else float(getattr(found, end))

    busy = (
        load.core_synops * at("synaptic_operation_ns")
        + load.core_active * at("active_update_ns")
        + load.core_inactive * at("inactive_update_ns")
    )
    x, y = placed.farthest
    routers = len({core.router for core in placed.cores})
    mesh = placed.chip.mesh
    share = (routers - 1) / max(1, mesh.columns * mesh.rows - 1)
    first, last = at("barrier_one_router_ns"), at("barrier_all_routers_ns")
    barrier = first + share * (last - first)
    found: NDArray[np.float64] = busy.max(axis=2) + x * at("hop_x_ns") + y * at("hop_y_ns") + barrier
    return found


def energy(chip: Chip, load: Load, time: Latency) -> Energy:
    """Energy of an inference by part.

    Args:
        chip: whose constants price it.
        load: what was done.
        time: how long static power flows; see `latency`.
    """
    amounts = {
        "synaptic operations": load.chip_synops,
        "multiply-accumulates": load.chip_macs,
        "active updates": load.chip_active,
        "inactive updates": load.chip_inactive,
        "spikes sent": load.messages,
    }
    parts: dict[str, Range] = {}
    missing = []
    for part, amount in amounts.items():
        constant = getattr(chip.energy, PARTS[part])
        if constant is not None:
            parts[part] = _range({end: amount * getattr(constant, end) / 1e3 for end in ENDS})
        elif amount and PARTS[part] not in chip.energy.inside:
            missing.append(part)
    x, y = chip.energy.hop_x_pj, chip.energy.hop_y_pj
    if x is not None and y is not None:
        hops = {end: (load.hops_x * getattr(x, end) + load.hops_y * getattr(y, end)) / 1e3 for end in ENDS}
        parts["hops"] = _range(hops)
    elif load.messages and "hop_x_pj" not in chip.energy.inside:
        missing.append("hops")
    if chip.energy.static_mw is not None and time.total is not None:
        static = chip.energy.static_mw  # mW times microseconds is nJ
        parts["static"] = _range({end: getattr(static, end) * getattr(time.total, end) for end in ENDS})
    else:
        missing.append("static power")
    total = _range({end: sum(getattr(part, end) for part in parts.values()) for end in ENDS})
    return Energy(parts, total if parts else None, tuple(missing))


def _range(ends: dict[End, float]) -> Range:
    return Range(ends["value"], ends["low"], ends["high"])
