"""RAPL, the energy counters inside of Intel's and AMD's processors, through Linux's powercap.

Each zone `/sys/class/powercap/intel-rapl:N` (AMD's too) is a package, and its parts are below; `energy_uj`
counts microjoules and begins again at `max_energy_range_uj`. The hardware adds to it about every millisecond
in steps of 61 µJ (2⁻¹⁴ J) or less. It sees everything that runs on the package, not one process.

https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paring_profiles.energy import sysfs
from paring_profiles.energy.counter import Counter
from paring_profiles.energy.kinds import COUNTER_UPDATES, CounterMeter
from paring_profiles.energy.meter import Availability, Facts, Meter, Refused

COVERS = "the processors' packages and, where counted, their memory; all processes"
RESOLUTION = "61 µJ, new every millisecond"
_RESOLUTION_J, _PERIOD_S = 2.0**-14, 1e-3
_MOST_WATTS = 2000.0  # of a zone: four times what the largest package is allowed


@dataclass(frozen=True)
class Zone:
    """One counter: its folder, its domain's name, and whether others hold its energy too."""

    folder: Path
    domain: str
    is_part: bool
    may_rest: bool

    @property
    def file(self) -> Path:
        """What is read."""
        return self.folder / "energy_uj"


def probe(_choice: str = "") -> Availability:
    """Tell whether there are zones that this user may read."""
    where = sysfs.root() / "class" / "powercap"
    found = zones(where)
    if not found:
        return Availability(COVERS, *_no_zones(where))
    for zone in found:
        if not _may_read(zone.file):
            return Availability(
                COVERS,
                f"{zone.file} may not be read by this user",
                f"sudo chmod a+r {where}/intel-rapl:*/energy_uj until the next start, or for good the udev "
                'rule SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj"',
            )
        if sysfs.number(zone.file) is None or not sysfs.number(zone.folder / "max_energy_range_uj"):
            return Availability(COVERS, f"{zone.folder} does not tell its energy and its counter's range")
    return Availability(f"{', '.join(zone.domain for zone in found)}; all processes")


def _may_read(file: Path) -> bool:
    try:
        file.read_bytes()
    except PermissionError:
        return False
    except OSError:
        return True  # something else is wrong with it
    return True


def _no_zones(where: Path) -> tuple[str, str]:
    if any(entry.is_symlink() and not entry.exists() for entry in where.glob("intel-rapl*")):
        return (
            f"the zones in {where} lead nowhere, as in a container",
            "start it with -v /sys:/host-sys:ro and PARING_SYSFS=/host-sys",
        )
    return (
        f"no RAPL zones in {where}",
        "virtual machines, containers and most ARM processors have none; elsewhere: sudo modprobe "
        "intel_rapl_msr",
    )


def zones(where: Path) -> list[Zone]:
    """Return the zones in order. `intel-rapl-mmio` counts the first package a second time: left out."""
    found: list[Zone] = []
    parents: dict[str, str] = {}
    for folder in sysfs.folders(where, "intel-rapl:*"):
        name = sysfs.text(folder / "name")
        if name is None:
            continue
        parent = parents.get(folder.name.rpartition(":")[0])
        if parent is None:
            parents[folder.name] = name
            package = name.startswith("package")  # others, as psys, see it too
            found.append(Zone(folder, name, is_part=not package, may_rest=not package))
        else:
            found.append(Zone(folder, f"{parent}/{name}", is_part=name != "dram", may_rest=True))
    return found


def open_meter(choice: str = "") -> Meter:
    """Return the meter of all zones; the figure is that of packages and memory.

    Raises:
        Refused: see `probe`.
    """
    present = probe(choice)
    if present.why_not is not None:
        raise Refused(present.sentence())
    found = zones(sysfs.root() / "class" / "powercap")
    counters = {}
    for zone in found:
        limit = sysfs.number(zone.folder / "max_energy_range_uj")
        counters[zone.domain] = Counter(1e-6, limit, _MOST_WATTS, _PERIOD_S, zone.may_rest)
    facts = Facts(
        covers=present.covers,
        domains=tuple(counters),
        total=tuple(zone.domain for zone in found if not zone.is_part),
        resolution_j=_RESOLUTION_J,
        update_period_s=_PERIOD_S,
        updates_a_window=COUNTER_UPDATES,
        method="RAPL energy counters through powercap",
    )
    return CounterMeter(facts, counters, lambda: {z.domain: float(z.file.read_text()) for z in found})
