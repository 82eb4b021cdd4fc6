"""How long a step is: a NIR file may say it, and often does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import NirRefused
from .flat import Flat
from .nodes import IF, I

SECONDS = 1e-4  # the step of NIR's paper, and the default of snnTorch and SpikingJelly
_TIMES = ("tau", "tau_mem", "tau_syn")
_UNLIKELY_R = 100.0  # an integrator's resistance that speaks of a step in seconds: 1 / dt


def step_of(flat: Flat, metadata: Mapping[str, Any], asked: float | None) -> float:
    """Return dt: what is asked for, or the graph's metadata say, or 1e-4 where a time is below 1, or 1.

    Raises:
        NirRefused: no number above 0, a time constant that is shorter, or integrators that speak of
            another; with the node.
    """
    told = metadata.get("dt") if asked is None else asked
    times = {
        f"node {name}: {key}": float(np.min(value))
        for name, node in flat.nodes.items()
        for key, value in vars(node).items()
        if key in _TIMES
    }
    delays = [float(np.max(node.delay)) for node in flat.nodes.values() if hasattr(node, "delay")]
    shortest = min([*times.values(), *(one for one in delays if one > 0)], default=1.0)
    dt = (SECONDS if shortest < 1 else 1.0) if told is None else _number(told)
    for where, value in times.items():
        if value < dt:
            raise NirRefused(
                f"{where} is {value:g}, shorter than a step, dt = {dt:g}; say the file's own step"
            )
    for name, node in flat.nodes.items():
        if told is None and dt == 1 and isinstance(node, (I, IF)) and np.min(np.abs(node.r)) >= _UNLIKELY_R:
            r = float(np.min(np.abs(node.r)))
            raise NirRefused(
                f"node {name}: r is {r:g}, which speaks of a step in seconds, and the file tells no"
                f" dt: say it, as dt={1 / r:g}"
            )
    return dt


def _number(told: Any) -> float:
    value = np.asarray(told)
    if value.size != 1 or value.dtype.kind not in "iuf" or not 0 < value.reshape(-1)[0] < np.inf:
        raise NirRefused(f"dt is {told!r}; expected a number above 0")
    return float(value.reshape(-1)[0])
