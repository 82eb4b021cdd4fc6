"""Apple's processors: the energy counters of their parts (IOReport), through zeus.

Of zeus are used `zeus.device.soc.apple.apple_silicon_is_available` and `AppleSilicon`, whose
`get_total_energy_consumption` adds up mJ since it was opened. Apple does not document how often the counters
update; 0.1 s is taken. They are a model inside of the chip, as RAPL's once were.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from paring_profiles.energy.counter import Counter
from paring_profiles.energy.kinds import COUNTER_UPDATES, CounterMeter
from paring_profiles.energy.meter import Availability, Facts, Meter, Refused

COVERS = "an Apple chip's processors, GPU, memory and neural engine; all processes"
RESOLUTION = "1 mJ, new every 0.1 s (not documented)"
_MODULE = "zeus.device.soc.apple"
_FIELDS = {
    "cpu": "cpu_total_mj", "gpu": "gpu_mj", "gpu sram": "gpu_sram_mj", "dram": "dram_mj", "ane": "ane_mj",
}  # fmt: skip
_RESOLUTION_J, _PERIOD_S, _MOST_WATTS = 1e-3, 0.1, 1000.0


def probe(_choice: str = "") -> Availability:
    """Tell whether this is such a machine, with zeus on it."""
    if sys.platform != "darwin":
        return Availability(COVERS, "this is no Mac")
    mend = "pip install 'paring[energy]' zeus-apple-silicon"
    if importlib.util.find_spec("zeus") is None:
        return Availability(COVERS, "zeus is not installed", mend)
    if not importlib.import_module(_MODULE).apple_silicon_is_available():
        return Availability(COVERS, "no Apple chip, or zeus-apple-silicon is not installed", mend)
    return Availability(COVERS)


def open_meter(choice: str = "") -> Meter:
    """Return the meter of the chip's parts that are counted.

    Raises:
        Refused: see `probe`; or zeus cannot open the counters.
    """
    present = probe(choice)
    if present.why_not is not None:
        raise Refused(present.sentence())
    try:
        chip: Any = importlib.import_module(_MODULE).AppleSilicon()
        first = chip.get_total_energy_consumption()
    except Exception as error:  # the bindings' own
        raise Refused(f"zeus cannot open the chip's counters ({error})") from error
    domains = tuple(name for name, field in _FIELDS.items() if getattr(first, field) is not None)
    if not domains:
        raise Refused("the chip counts none of its parts")

    def read() -> dict[str, float]:
        now = chip.get_total_energy_consumption()
        return {name: float(getattr(now, _FIELDS[name])) for name in domains}

    facts = Facts(
        covers=f"{', '.join(domains)} of an Apple chip; all processes",
        domains=domains,
        total=domains,
        resolution_j=_RESOLUTION_J,
        update_period_s=_PERIOD_S,
        updates_a_window=COUNTER_UPDATES,
        method="Apple's energy counters through zeus",
    )
    counters = {d: Counter(1e-3, None, _MOST_WATTS, _PERIOD_S, may_rest=d != "cpu") for d in domains}
    return CounterMeter(facts, counters, read)
