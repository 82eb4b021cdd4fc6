"""Meters that read `/sys`: what they find, what they read, and why not."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from paring_profiles.energy.meter import Refused
from paring_profiles.meters import battery, hwmon, meters, rapl


def test_an_empty_machine_says_so(sysfs):
    found = meters()
    assert set(found) == {"amd", "apple", "battery", "external", "hwmon", "nvml", "rapl"}
    for name in ("battery", "hwmon", "rapl", "external"):
        assert found[name].why_not
    assert f"no RAPL zones in {sysfs}" in found["rapl"].sentence()
    assert "modprobe intel_rapl_msr" in found["rapl"].sentence()
    assert found["battery"].sentence().startswith("no battery in ")
    assert found["hwmon"].sentence().startswith("no sensor of power or energy in ")
    assert "--energy-csv FILE" in found["external"].sentence()


def test_packages_and_memory_are_the_figure_and_cores_a_part(package, tell):
    package(0, 1_000_000)
    package(10, 2_000_000)
    package(1, 3_000_000)
    tell("class/powercap/intel-rapl-mmio:0", name="package-0", energy_uj=1, max_energy_range_uj=1)
    assert rapl.probe().why_not is None
    with rapl.open_meter() as meter:
        assert meter.facts.domains[::3] == ("package-0", "package-1", "package-10")
        assert set(meter.facts.total) == {
            *(f"package-{i}" for i in (0, 1, 10)), *(f"package-{i}/dram" for i in (0, 1, 10)),
        }  # fmt: skip
        begin = meter.mark()
        package(0, 1_500_000)
        package(1, 3_100_000)
        package(10, 2_200_000)
        end = meter.mark()
        found = meter.joules(begin, end)
    assert found["package-0"] == pytest.approx(0.5)
    assert found["package-1/dram"] == pytest.approx(0.01)
    assert sum(found[name] for name in meter.facts.total) == pytest.approx(0.8 * 1.1)


def test_a_platform_zone_is_not_added(package, tell):
    package()
    tell("class/powercap/intel-rapl:1", name="psys", energy_uj=7, max_energy_range_uj=262143328850)
    meter = rapl.open_meter()
    assert "psys" in meter.facts.domains
    assert "psys" not in meter.facts.total


def test_a_package_that_stops_counting_is_refused(package):
    package()
    with rapl.open_meter() as meter:
        begin = meter.mark()
        time.sleep(0.05)
        with pytest.raises(Refused, match=r"package-0: the counter stood still for \d"):
            meter.joules(begin, meter.mark())


def test_a_zone_that_goes_away_is_refused(package):
    where = package()
    with rapl.open_meter() as meter:
        begin = meter.mark()
        (where / "energy_uj").unlink()
        with pytest.raises(Refused, match=r"could not be read \(FileNotFoundError"):
            meter.joules(begin, meter.mark())


def test_zones_that_lead_nowhere_tell_of_a_container(sysfs):
    where = sysfs / "class" / "powercap"
    where.mkdir(parents=True)
    (where / "intel-rapl:0").symlink_to("../../devices/virtual/powercap/intel-rapl/intel-rapl:0")
    said = rapl.probe()
    assert "lead nowhere, as in a container" in said.why_not
    assert "PARING_SYSFS=/host-sys" in said.mend


@pytest.fixture
def seen_by_nobody(monkeypatch):
    """A `/sys` that another user can look into: pytest's folders are for their owner alone."""
    root = Path(tempfile.mkdtemp(prefix="paring-sys-"))
    root.chmod(0o755)
    monkeypatch.setenv("PARING_SYSFS", str(root))
    yield root
    shutil.rmtree(root)


def test_a_missing_permission_names_the_file_and_the_mend(seen_by_nobody):
    zone = seen_by_nobody / "class" / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    for name, value in {"name": "package-0", "energy_uj": "1", "max_energy_range_uj": "9"}.items():
        (zone / name).write_text(value)
    (zone / "energy_uj").chmod(0o400)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    else:
        (zone / "energy_uj").chmod(0)
    try:
        said = rapl.probe()
        with pytest.raises(Refused, match="may not be read"):
            rapl.open_meter()
    finally:
        os.seteuid(user)
    assert said.why_not == f"{zone}/energy_uj may not be read by this user"
    assert f"sudo chmod a+r {zone.parent}/intel-rapl:*/energy_uj" in said.mend
    assert "udev" in said.mend


def test_a_zone_without_its_range_is_refused(tell):
    tell("class/powercap/intel-rapl:0", name="package-0", energy_uj=1)
    assert "does not tell its energy and its counter's range" in rapl.probe().why_not


def test_a_discharging_battery_is_sampled(tell):
    tell("class/power_supply/AC", type="Mains", online=0)
    tell("class/power_supply/mouse", type="Battery", scope="Device", status="Discharging", power_now=9)
    where = "class/power_supply/BAT0"
    tell(where, type="Battery", status="Discharging", current_now=-1_000_000, voltage_now=12_000_000)
    tell("class/power_supply/BAT1", type="Battery", status="Full", power_now=0)
    assert battery.probe().why_not is None
    folders = battery.batteries(tell("class/power_supply"))
    assert [folder.name for folder in folders] == ["BAT0", "BAT1"]
    assert battery.watts(folders[0]) == pytest.approx(12.0)
    with battery.open_meter() as meter:
        begin = meter.mark()
        for milliwatts in range(14_000, 14_010):
            time.sleep(0.01)
            tell(where, power_now=milliwatts * 1000)
            end = meter.mark()
        assert meter.joules(begin, end)["machine"] == pytest.approx(14 * (end.at_s - begin.at_s), rel=0.02)


def test_a_battery_whose_gauge_is_slow_is_refused(tell):
    tell("class/power_supply/BAT0", type="Battery", status="Discharging", power_now=12_000_000)
    with battery.open_meter() as meter:
        begin = meter.mark()
        for _ in range(3):
            time.sleep(0.02)
            end = meter.mark()
        with pytest.raises(Refused, match=r"machine: the sensor kept one value .* too slow for windows"):
            meter.joules(begin, end)


def test_a_battery_that_is_charged_measures_nothing(tell):
    tell("class/power_supply/BAT0", type="Battery", status="Charging", power_now=30_000_000)
    said = battery.probe()
    assert said.why_not == "no battery is discharging (BAT0 is charging)"
    assert said.mend == "unplug the charger"
    tell("class/power_supply/BAT0", status="Discharging")
    with battery.open_meter() as meter:
        begin = meter.mark()
        tell("class/power_supply/BAT0", status="Charging")
        with pytest.raises(Refused, match="a battery is being charged"):
            meter.joules(begin, meter.mark())


def test_a_battery_without_power_or_current_says_so(tell):
    tell("class/power_supply/BAT0", type="Battery", status="Discharging", capacity=50)
    assert battery.probe().why_not == "BAT0 tells neither power nor current"


def test_sensors_of_every_kind_are_found(tell):
    tell("class/hwmon/hwmon2", name="power_meter", power1_average=45_000_000, power1_average_interval=1000)
    tell("class/hwmon/hwmon10", name="amdgpu", power1_input=31_000_000, power1_label="PPT")
    tell("class/hwmon/hwmon3", name="i915", energy1_input=7_000_000)
    tell("class/hwmon/hwmon4", name="ina3221", in1_input=5000, curr1_input=2000, in1_label="VDD_CPU_GPU_CV")
    tell("class/hwmon/hwmon5", name="nct6775", in1_input=5000, curr1_input=2000)
    tell("class/hwmon/hwmon6", name="amdgpu", power1_average=1_000_000, power1_label="PPT")
    found = {one.name: one for one in hwmon.sensors(tell("class/hwmon"))}
    assert list(found) == [
        "power_meter/power1", "i915/energy1", "ina3221/VDD_CPU_GPU_CV", "amdgpu/PPT", "amdgpu/PPT#2",
    ]  # fmt: skip
    assert found["ina3221/VDD_CPU_GPU_CV"].read() == pytest.approx(10.0)
    assert found["amdgpu/PPT"].read() == pytest.approx(1.0)
    assert found["amdgpu/PPT#2"].read() == pytest.approx(31.0)
    assert found["power_meter/power1"].period_s == 1.0
    assert "the whole machine (power_meter/power1)" in hwmon.probe().covers
    assert hwmon.open_meter("i915/energy1").facts.method == "a hwmon energy counter"


def test_several_sensors_are_for_the_user_to_choose_among(tell):
    tell("class/hwmon/hwmon0", name="a", power1_input=1)
    tell("class/hwmon/hwmon1", name="b", power1_input=1)
    said = hwmon.probe().why_not
    assert "several sensors that may see the same (a/power1, b/power1)" in said
    assert "--energy hwmon:a/power1" in said
    assert hwmon.probe("b/power1").why_not is None
    assert hwmon.probe("c/power1").why_not == "no sensor 'c/power1'; there are a/power1, b/power1"


def test_a_sensor_is_sampled_and_integrated(tell):
    tell("class/hwmon/hwmon0", name="ina226", power1_input=8_000_000, update_interval=2000)
    with hwmon.open_meter() as meter:
        begin = meter.mark()
        time.sleep(0.05)
        middle = meter.mark()
        tell("class/hwmon/hwmon0", power1_input=4_000_000)
        later = meter.mark()
        time.sleep(0.05)
        end = meter.mark()
        first, last = (meter.joules(*pair)["ina226/power1"] for pair in ((begin, middle), (later, end)))
        whole = meter.joules(begin, end)["ina226/power1"]
    assert first == pytest.approx(8 * (middle.at_s - begin.at_s))
    assert last == pytest.approx(4 * (end.at_s - later.at_s))
    assert whole == pytest.approx(first + last + 6 * (later.at_s - middle.at_s))
    assert meter.facts.update_period_s == pytest.approx(2)
