"""The GPU's name from files as NVIDIA's driver writes them; none here has one to ask."""

from __future__ import annotations

from pathlib import Path

from paring_profiles.machine import describe, gpus

INFORMATION = """Model: \t\t {name}
IRQ:   \t\t 132
GPU UUID: \t GPU-00000000-0000-0000-0000-000000000000
Video BIOS: \t 96.00.a5.00.01
Bus Type: \t PCIe
Bus Location: \t {slot}
GPU Excluded:\t No
"""


def test_names_of_all_cards_in_the_drivers_order(tmp_path: Path) -> None:
    for slot, name in (("0000:81:00.0", "NVIDIA T4"), ("0000:05:00.0", "NVIDIA H200")):
        folder = tmp_path / "gpus" / slot
        folder.mkdir(parents=True)
        (folder / "information").write_text(INFORMATION.format(name=name, slot=slot))
    assert gpus(tmp_path) == ["NVIDIA H200", "NVIDIA T4"]


def test_a_machine_without_the_driver_has_none(tmp_path: Path) -> None:
    assert gpus(tmp_path / "absent") == []
    assert describe().gpus == gpus()
