"""A battery that is discharging: the power that the whole machine draws, as its gauge tells it.

`/sys/class/power_supply/*` of type Battery: `power_now` (µW), or `current_now` (µA) times `voltage_now` (µV),
sampled and integrated. No file tells how often a gauge updates: one second is assumed, and refused where the
samples show that it is slower. Batteries of mice and the like (scope Device) are left out.

https://docs.kernel.org/power/power_supply_class.html
"""

from __future__ import annotations

from pathlib import Path

from paring_profiles.energy import sysfs
from paring_profiles.energy.kinds import POWER_UPDATES, PowerMeter
from paring_profiles.energy.meter import Availability, Facts, Meter, Refused

COVERS = "the whole machine on its battery, the screen too; all processes"
RESOLUTION = "10 mW or what the gauge tells, new every second at best"
_PERIOD_S = 1.0
_STEP_W = 0.01  # gauges tell 10 mW or finer


def probe(_choice: str = "") -> Availability:
    """Tell whether the machine draws from a battery whose power can be read."""
    where = sysfs.root() / "class" / "power_supply"
    found = batteries(where)
    if not found:
        return Availability(COVERS, f"no battery in {where}")
    if not any(sysfs.text(folder / "status") == "Discharging" for folder in found):
        said = ", ".join(
            f"{one.name} is {(sysfs.text(one / 'status') or 'unknown').lower()}" for one in found
        )
        return Availability(COVERS, f"no battery is discharging ({said})", "unplug the charger")
    silent = [folder.name for folder in found if watts(folder) is None]
    if silent:
        return Availability(COVERS, f"{', '.join(silent)} tells neither power nor current")
    return Availability(f"{COVERS} ({', '.join(folder.name for folder in found)})")


def batteries(where: Path) -> list[Path]:
    """Return the folders of batteries that feed this machine."""
    return [
        folder
        for folder in sysfs.folders(where, "*")
        if sysfs.text(folder / "type") == "Battery" and sysfs.text(folder / "scope") != "Device"
    ]


def watts(folder: Path) -> float | None:
    """Return what a battery gives now, 0 for one that rests, None where it does not tell."""
    if sysfs.text(folder / "status") in ("Full", "Not charging"):
        return 0.0
    power = sysfs.number(folder / "power_now")
    if power is not None:
        return abs(power) * 1e-6  # some drivers count discharging as negative
    current, voltage = sysfs.number(folder / "current_now"), sysfs.number(folder / "voltage_now")
    return None if current is None or voltage is None else abs(current * voltage) * 1e-12


def open_meter(choice: str = "") -> Meter:
    """Return the meter of all batteries together.

    Raises:
        Refused: see `probe`.
    """
    present = probe(choice)
    if present.why_not is not None:
        raise Refused(present.sentence())
    found = batteries(sysfs.root() / "class" / "power_supply")

    def read() -> dict[str, float]:
        if any(sysfs.text(folder / "status") == "Charging" for folder in found):
            raise Refused("a battery is being charged")
        given = [watts(folder) for folder in found]
        if None in given:
            raise Refused("a battery no longer tells its power")
        return {"machine": sum(one for one in given if one is not None)}

    facts = Facts(
        covers=present.covers,
        domains=("machine",),
        total=("machine",),
        resolution_j=_STEP_W * _PERIOD_S,
        update_period_s=_PERIOD_S,
        updates_a_window=POWER_UPDATES,
        method="the battery gauge's power, sampled twice a second and integrated",
    )
    return PowerMeter(facts, read, period_told=False)
