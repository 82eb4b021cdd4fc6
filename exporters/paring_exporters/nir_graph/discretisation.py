"""From NIR's continuous time to steps of dt: what is taken, and where simulators disagree.

NIR's equations are differential; a file says neither the step nor how to integrate. Taken here:

- **Forward Euler**. LIF: v += dt/tau ((v_leak - v) + r x). CubaLIF: i += dt/tau_syn (w_in x - i) first, then
  v with the new i. I and IF: v += dt r x. So do snnTorch, SpikingJelly and Norse (its box neurons), in which
  the networks were trained that are exchanged; a network must get the arithmetic that it was trained with.
  Sinabs decays by exp(-dt/tau): for dt = 1e-4 and tau = 2.5e-3 by 0.9608 a step where Euler decays by 0.96.
- **A spike where v > v_threshold, strictly**, as NIR says. snnTorch and Norse do so; SpikingJelly and Sinabs
  fire at equality too.
- **Hard reset to v_reset, to 0 in files without that key**, as NIR reads them since 1.0.5. Until 1.0.4 its
  documentation said v -= v_threshold, and its paper's recurrent network exists in both kinds, which the
  file does not tell: `reset="subtract"` reads such a file so. Norse, snnTorch and SpikingJelly reset to 0,
  Sinabs subtracts.
- **dt**: the graph's own metadata, else 1e-4 s where a time constant is below 1 (the step of NIR's paper, and
  the default of snnTorch and SpikingJelly; Norse's is 1e-3), else 1: time in steps.
- **Order**: see `paring_runtimes.nir.flat`. An I or IF adds the inputs that close a cycle before the others,
  so that an integrator with a subtracting feedback rounds as v += x; v -= threshold does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paring_runtimes.nir import Flat, NirRefused
from paring_runtimes.nir.nodes import IF, I

RESETS = ("zero", "subtract")
SECONDS = 1e-4
_UNLIKELY_R = 100.0  # a resistance that speaks of a step in seconds: 1 / dt


@dataclass(frozen=True)
class Reading:
    """How a graph is read.

    Attributes:
        dt: the step, in the unit of the graph's time constants; None finds one, see above.
        reset: "zero" (to v_reset), or "subtract" (the threshold) in nodes that say no v_reset.
    """

    dt: float | None = None
    reset: str = "zero"

    def __post_init__(self) -> None:
        if self.dt is not None and not 0 < self.dt < float("inf"):
            raise NirRefused(f"dt: {self.dt}, expected above 0")
        if self.reset not in RESETS:
            raise NirRefused(f"reset: {self.reset!r}, expected one of {', '.join(RESETS)}")


def step_of(flat: Flat, metadata: dict[str, object], asked: float | None) -> float:
    """The step dt of a graph.

    Raises:
        NirRefused: a time constant is shorter than the step, or only the step is missing; with the node.
    """
    told = metadata.get("dt") if asked is None else asked
    times = {
        f"node {name}: {key}": float(np.min(value))
        for name, node in flat.nodes.items()
        for key, value in vars(node).items()
        if key in ("tau", "tau_mem", "tau_syn", "delay") and np.size(value) and np.max(value) > 0
    }
    shortest = min(times.values(), default=1.0)
    dt = float(np.asarray(told)) if told is not None else SECONDS if shortest < 1 else 1.0
    for where, value in times.items():
        if not where.endswith("delay") and value < dt:
            raise NirRefused(f"{where} is {value:g}, shorter than a step, dt = {dt:g}")
    if told is None and dt == 1:
        for name, node in flat.nodes.items():
            if isinstance(node, (I, IF)) and np.min(np.abs(node.r)) >= _UNLIKELY_R:
                r = float(np.min(np.abs(node.r)))
                raise NirRefused(
                    f"node {name}: r is {r:g}, which speaks of a step in seconds, and the file tells no dt:"
                    f" say it, as dt={1 / r:g}"
                )
    return dt
