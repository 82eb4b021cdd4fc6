from __future__ import annotations

import dataclasses

import pytest

from paring_profiles.result import Energy, MeterState, Profile
from paring_profiles.sweep.measures import Unresolved, metered_energy
from paring_runtimes.errors import InputError


def metered(recorded: Profile, mj: float, low: float, high: float) -> Profile:
    energy = Energy(
        2, "rapl", mj, (low, high), 40.0, {"package-0": mj}, [mj] * 8, 5.0, (4.9, 5.1), 0.5, 80,
        "package-0; all processes", "counters",
    )  # fmt: skip
    base, small = recorded.candidates
    return dataclasses.replace(recorded, candidates=[base, dataclasses.replace(small, energies=[energy])])


def test_a_meters_figure_keeps_its_interval_and_says_what_it_saw(recorded: Profile) -> None:
    found = metered_energy(metered(recorded, 12.0, 11.0, 13.5), 1, "trial")
    assert (found.value, found.low, found.high, found.unit) == (12.0, 11.0, 13.5, "mJ")
    assert (found.provenance, found.round) == ("measured", "trial")
    assert found.method == "rapl: package-0; all processes; batch 2, counters"


@pytest.mark.parametrize(("mj", "low"), [(-0.7, -0.9), (5.0, -1.0), (3.0, 0.4)])
def test_what_the_idle_machine_hides_is_no_figure(recorded: Profile, mj: float, low: float) -> None:
    with pytest.raises(Unresolved, match="does not stand out from the idle machine"):
        metered_energy(metered(recorded, mj, low, 6.0), 1, "trial")


def test_a_meter_that_could_not_tell_says_why(recorded: Profile) -> None:
    silent = dataclasses.replace(recorded, meters=[MeterState("rapl", "a package", "it was reset")])
    with pytest.raises(InputError, match="objective energy: rapl: it was reset"):
        metered_energy(silent, 0, "trial")
