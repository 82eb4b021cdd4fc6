"""Sensors of power and energy that Linux's hwmon tells: boards, supplies, GPUs, power monitors.

`/sys/class/hwmon/hwmon*`: `power*_input` or `power*_average` (µW), `energy*_input` (µJ), and of INA3221
monitors (Jetson boards) `in*_input` (mV) times `curr*_input` (mA). What a sensor sees is for its driver and
board to say, and some see what others see too: they are never added. One is used: the one chosen, the only
one, or the one that sees the whole machine.

https://docs.kernel.org/hwmon/sysfs-interface.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from paring_profiles.energy import sysfs
from paring_profiles.energy.counter import Counter
from paring_profiles.energy.kinds import COUNTER_UPDATES, POWER_UPDATES, CounterMeter, PowerMeter
from paring_profiles.energy.meter import Availability, Facts, Meter, Refused

COVERS = "what one sensor of a board, a supply or a GPU sees; all processes"
RESOLUTION = "the sensor's: about 1 mW or 1 mJ, new as often as its files tell"
_WHOLE_CHIPS = {"power_meter"}  # ACPI's: what the machine's supply gives
_WHOLE_LABELS = {"VDD_IN", "POM_5V_IN", "VIN_SYS_5V0"}  # rails that feed a whole Jetson board
_PERIOD_S = 0.1  # where no file tells: assumed for power, a bound for counters
_MOST_WATTS = 5000.0
_STEP_W, _STEP_J = 1e-3, 1e-3  # monitors tell milliwatts, or round to them


@dataclass(frozen=True)
class Sensor:
    """One sensor.

    Attributes:
        name: "CHIP/LABEL", or "CHIP/power1" where there is no label.
        kind: "power", "energy" or "product" of voltage and current.
        files: what is read.
        period_s: how often it updates, None where no file tells.
        whole: whether it sees the whole machine.
    """

    name: str
    kind: str
    files: tuple[Path, ...]
    period_s: float | None
    whole: bool

    def read(self) -> float:
        """Watts, or microjoules of an energy counter, now."""
        values = [float(file.read_text()) for file in self.files]
        if self.kind == "product":  # mV times mA is µW
            return values[0] * values[1] * 1e-6
        return values[0] if self.kind == "energy" else values[0] * 1e-6


def sensors(where: Path) -> list[Sensor]:
    """Return every sensor that can be read, in the order of chips; two of one name get numbers."""
    found: list[Sensor] = []
    for folder in sysfs.folders(where, "hwmon*"):
        chip = sysfs.text(folder / "name") or folder.name
        for kind, stem, files in _channels(folder, chip):
            if any(sysfs.number(file) is None for file in files):
                continue
            label = sysfs.text(folder / f"{stem}_label")
            name = f"{chip}/{label or stem}"
            again = sum(one.name.partition("#")[0] == name for one in found)
            whole = chip in _WHOLE_CHIPS or label in _WHOLE_LABELS
            found.append(
                Sensor(f"{name}#{again + 1}" if again else name, kind, files, _period_s(folder, stem), whole)
            )
    return found


def _channels(folder: Path, chip: str) -> list[tuple[str, str, tuple[Path, ...]]]:
    """Kind, stem ("power1") and files of each channel."""
    found: list[tuple[str, str, tuple[Path, ...]]] = []
    names = sorted(entry.name for entry in folder.iterdir())
    for stem in sorted(
        {m[1] for name in names if (m := re.fullmatch(r"(power\d+)_(?:input|average)", name))}
    ):
        instant = folder / f"{stem}_input"
        found.append(("power", stem, (instant if instant.exists() else folder / f"{stem}_average",)))
    for stem in [m[1] for name in names if (m := re.fullmatch(r"(energy\d+)_input", name))]:
        found.append(("energy", stem, (folder / f"{stem}_input",)))
    if chip == "ina3221":  # elsewhere a voltage and a current of one number need not belong together
        for number in [m[1] for name in names if (m := re.fullmatch(r"curr(\d+)_input", name))]:
            voltage = folder / f"in{number}_input"
            if voltage.exists():
                found.append(("product", f"in{number}", (voltage, folder / f"curr{number}_input")))
    return found


def _period_s(folder: Path, stem: str) -> float | None:
    told = sysfs.number(folder / f"{stem}_average_interval") or sysfs.number(folder / "update_interval")
    return told / 1e3 if told else None


def _chosen(choice: str) -> Sensor:
    """Return the sensor to use.

    Raises:
        Refused: there is none, or none is told apart.
    """
    where = sysfs.root() / "class" / "hwmon"
    found = sensors(where)
    names = ", ".join(one.name for one in found)
    if not found:
        raise Refused(f"no sensor of power or energy in {where}")
    if choice:
        chosen = [one for one in found if one.name == choice]
        if not chosen:
            raise Refused(f"no sensor {choice!r}; there are {names}")
        return chosen[0]
    whole = [one for one in found if one.whole]
    if len(found) == 1 or len(whole) == 1:
        return (whole or found)[0]
    raise Refused(
        f"several sensors that may see the same ({names}): choose one, --energy hwmon:{found[0].name}"
    )


def probe(choice: str = "") -> Availability:
    """Tell whether there is a sensor to use."""
    try:
        sensor = _chosen(choice)
    except Refused as error:
        return Availability(COVERS, str(error))
    return Availability(_covers(sensor))


def _covers(sensor: Sensor) -> str:
    return f"{'the whole machine' if sensor.whole else 'what the sensor sees'} ({sensor.name}); all processes"


def open_meter(choice: str = "") -> Meter:
    """Return the meter of one sensor.

    Raises:
        Refused: see `probe`.
    """
    sensor = _chosen(choice)
    period_s = sensor.period_s or _PERIOD_S
    counts = sensor.kind == "energy"
    facts = Facts(
        covers=_covers(sensor),
        domains=(sensor.name,),
        total=(sensor.name,),
        resolution_j=_STEP_J if counts else _STEP_W * period_s,
        update_period_s=period_s,
        updates_a_window=COUNTER_UPDATES if counts else POWER_UPDATES,
        method="a hwmon energy counter" if counts else "a hwmon sensor's power, sampled and integrated",
    )
    if counts:
        counters = {sensor.name: Counter(1e-6, None, _MOST_WATTS, period_s)}
        return CounterMeter(facts, counters, lambda: {sensor.name: sensor.read()})
    return PowerMeter(facts, lambda: {sensor.name: sensor.read()}, period_told=sensor.period_s is not None)
