"""GPUs through zeus: the energy counter of each, or its power where it has no counter.

zeus (https://ml.energy/zeus, the extra `energy`) wraps NVML and AMD SMI behind one class, and is imported
only here, when a meter is asked for. Of it are used: `nvml_is_available`/`amdsmi_is_available`,
`NVIDIAGPUs`/`AMDGPUs`, and of these `supports_get_total_energy_consumption`, `get_total_energy_consumption`
(mJ), `get_instant_power_usage` (mW), `get_name`, `len`. Its windows are not: they sum what they can read,
and warn where a window is shorter than the counter's period; ours are refused.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from paring_profiles.energy.counter import Counter
from paring_profiles.energy.kinds import COUNTER_UPDATES, POWER_UPDATES, CounterMeter, PowerMeter
from paring_profiles.energy.meter import Availability, Facts, Meter, Refused
from paring_profiles.energy.recorder import Read

# Neither vendor documents how often; on NVIDIA's, updates were seen every 20 to 100 ms (arXiv 2312.02741).
PERIOD_S = 0.1
RESOLUTION = "1 mJ, new every 0.1 s (not documented)"
_RESOLUTION_J, _MOST_WATTS = 1e-3, 5000.0
_STEP_W = 1e-3


@dataclass(frozen=True)
class Vendor:
    """Where zeus keeps one vendor's GPUs.

    Attributes:
        module: of zeus.
        available: the function there that tells whether the driver answers.
        gpus: the class there.
        driver: the driver's library, in words.
        tool: the driver's own command that shows its GPUs.
        covers: what is measured, in words.
    """

    module: str
    available: str
    gpus: str
    driver: str
    tool: str
    covers: str


def probe(vendor: Vendor) -> Availability:
    """Tell whether zeus finds GPUs of a vendor and can read their energy or power."""
    if importlib.util.find_spec("zeus") is None:
        return Availability(vendor.covers, "zeus is not installed", "pip install 'paring[energy]'")
    try:
        return Availability(_found(vendor)[0])
    except Refused as error:
        return Availability(vendor.covers, str(error))


def open_meter(vendor: Vendor) -> Meter:
    """Return the meter of all GPUs that are visible; `CUDA_VISIBLE_DEVICES` and its like are respected.

    Raises:
        Refused: see `probe`.
    """
    if importlib.util.find_spec("zeus") is None:
        raise Refused(probe(vendor).sentence())
    covers, counts, read = _found(vendor)
    domains = tuple(read())
    facts = Facts(
        covers=covers,
        domains=domains,
        total=domains,
        resolution_j=_RESOLUTION_J if counts else _STEP_W * PERIOD_S,
        update_period_s=PERIOD_S,
        updates_a_window=COUNTER_UPDATES if counts else POWER_UPDATES,
        method=f"{vendor.driver} through zeus, "
        + ("the GPUs' energy counters" if counts else "the GPUs' power, sampled and integrated"),
    )
    if counts:
        return CounterMeter(facts, {d: Counter(1e-3, None, _MOST_WATTS, PERIOD_S) for d in domains}, read)
    return PowerMeter(facts, read, period_told=False)


def _found(vendor: Vendor) -> tuple[str, bool, Read]:
    """Return what is measured, in words, whether energy is counted, and what reads it.

    Raises:
        Refused: see `_gpus` and `_reader`.
    """
    try:
        gpus = _gpus(vendor)
        names = ", ".join(gpus.get_name(index) for index in range(len(gpus)))
        return f"{vendor.covers} ({names})", *_reader(gpus)
    except Refused:
        raise
    except Exception as error:  # drivers' bindings raise their own, of no common kind
        raise Refused(f"zeus cannot read {vendor.driver}'s GPUs ({error})") from error


def _gpus(vendor: Vendor) -> Any:
    """Return zeus's object for all visible GPUs.

    Raises:
        Refused: no driver, no GPU, or zeus does not take them (MIG slices have no energy of their own).
    """
    try:
        module = importlib.import_module(vendor.module)
        if not getattr(module, vendor.available)():
            raise Refused(
                f"{vendor.driver} does not answer: is there such a GPU, does {vendor.tool} show it?"
            )
        gpus = getattr(module, vendor.gpus)()
    except Refused:
        raise
    except Exception as error:  # drivers' bindings raise their own, of no common kind
        raise Refused(f"zeus cannot open {vendor.driver}'s GPUs ({error})") from error
    if len(gpus) == 0:
        raise Refused(f"{vendor.driver} shows no GPU: see {vendor.tool}")
    return gpus


def _reader(gpus: Any) -> tuple[bool, Read]:
    """Return whether energy is counted (mJ), and what reads it, or power (W), of every GPU.

    Raises:
        Refused: neither can be read.
    """
    every = range(len(gpus))

    def counted() -> dict[str, float]:
        return {f"gpu-{i}": float(gpus.get_total_energy_consumption(i)) for i in every}

    def drawn() -> dict[str, float]:
        return {f"gpu-{i}": gpus.get_instant_power_usage(i) / 1e3 for i in every}

    reasons = []
    try:
        if not all(gpus.supports_get_total_energy_consumption(i) for i in every):
            reasons.append("no counter")
        elif all(counted().values()):
            return True, counted
        else:  # of zero since the driver was loaded: it counts nothing
            reasons.append("a counter that reads 0")
    except Exception as error:  # virtual GPUs say that they count, and do not
        reasons.append(str(error))
    try:
        drawn()
    except Exception as error:
        raise Refused(
            f"the GPUs tell neither energy nor power ({'; '.join([*reasons, str(error)])})"
        ) from error
    return False, drawn
