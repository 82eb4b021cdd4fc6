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
- **dt** (`paring_runtimes.nir.time_step`): the graph's own metadata, else 1e-4 s where a time constant is
  below 1 (the step of NIR's paper, and the default of snnTorch and SpikingJelly; Norse's is 1e-3), else 1:
  time in steps.
- **Order**: see `paring_runtimes.nir.flat`. An I or IF adds the inputs that close a cycle before the others,
  so that an integrator with a subtracting feedback rounds as v += x; v -= threshold does.
"""

from __future__ import annotations

from dataclasses import dataclass

from paring_runtimes.nir import NirRefused

RESETS = ("zero", "subtract")


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
