"""The schema of a modelled device's file. What no source gives is not in it, and then not modelled."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from paring_profiles.data_file import read_data_file
from paring_profiles.neuromorphic.chip import Constant, Source
from paring_runtimes.errors import InputError
from paring_runtimes.suggest import near_miss

FOLDER = Path(__file__).parent
Precision = Literal["fp32", "tf32", "fp16", "int16", "int8"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RelativeEnergy(_Strict):
    """Energy of moving 16 bits at a level, in multiply-accumulates of 16 bits."""

    registers: Constant
    network: Constant
    buffer: Constant
    dram: Constant


class Device(_Strict):
    """A device.

    Attributes:
        name: its file's name.
        title: what people call it.
        about: what is known of it, and what is not.
        sources: by key.
        peak_tops: 10^12 operations a second by precision, dense, two for a multiply-accumulate.
        memory_gb_s: to the memory that holds a model's weights, or over the link to it.
        on_chip_mb: 10^6 bytes that stay on the chip between calls; `high` counts every kind of memory there.
        relative_energy: of moving data, where only ratios are published.
    """

    name: str
    title: str
    about: str
    sources: dict[str, Source]
    peak_tops: dict[Precision, Constant]
    memory_gb_s: Constant | None = None
    on_chip_mb: Constant | None = None
    relative_energy: RelativeEnergy | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Device:
        if not self.peak_tops:
            raise ValueError("peak_tops: expected at least one precision")
        for name, figure in self.constants().items():
            if figure.source not in self.sources:
                raise ValueError(f"{name}: source {figure.source!r} is none of {', '.join(self.sources)}")
            if figure.high <= 0:
                raise ValueError(f"{name}: expected more than 0, given {figure.high}")
        return self

    def constants(self) -> dict[str, Constant]:
        """Every figure by its path, such as "peak_tops.int8"."""
        found = {f"peak_tops.{name}": figure for name, figure in self.peak_tops.items()}
        for name in ("memory_gb_s", "on_chip_mb"):
            figure = getattr(self, name)
            if figure is not None:
                found[name] = figure
        if self.relative_energy is not None:
            for level in RelativeEnergy.model_fields:
                found[f"relative_energy.{level}"] = getattr(self.relative_energy, level)
        return found


def devices_modelled() -> list[str]:
    """Names of the devices there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def device(name: str) -> Device:
    """A device by its name.

    Raises:
        InputError: there is none of that name; the message lists those there are.
    """
    known = devices_modelled()
    if name not in known:
        raise InputError(f"no modelled device {name!r}{near_miss(name, known)}; known: {', '.join(known)}")
    return read_device(FOLDER / f"{name}.yaml")


def read_device(path: Path) -> Device:
    """A device of one's own, from a file.

    Raises:
        InputError: not a device's file, with every field that is wrong.
    """
    return read_data_file(path, Device, "device")
