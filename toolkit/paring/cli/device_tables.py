"""What `paring ledger --device` adds: bounds of published devices, predictions of fitted models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import console, table

if TYPE_CHECKING:
    from paring_profiles.calibrated import Prediction
    from paring_profiles.devices_modelled import Bound, Device
    from paring_profiles.ledger import Ledger


@dataclass
class DeviceTables:
    """Found for each device and artifact; empty where no device was asked for."""

    bounds: list[tuple[str, Device, list[Bound]]] = field(default_factory=list)
    energies: list[tuple[str, Device, dict[str, float]]] = field(default_factory=list)
    predictions: list[tuple[str, str, Prediction]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "bounds": [
                {"artifact": name, **asdict(one)} for name, _device, found in self.bounds for one in found
            ],
            "relative_energy": [
                {"artifact": name, "device": device.name, "in": "multiply-accumulates of 16 bits", **parts}
                for name, device, parts in self.energies
            ],
            "predictions": [
                {"artifact": name, "model": model, **asdict(one)} for name, model, one in self.predictions
            ],
        }

    def show(self) -> None:
        """Print the tables."""
        if self.bounds:
            self._show_bounds()
        for name, device, parts in self.energies:
            told = ", ".join(f"{part} {value:,.0f}" for part, value in parts.items())
            console.print(
                f"{name} on {device.title}, modelled, in multiply-accumulates of 16 bits:"
                f" {sum(parts.values()):,.0f} ({told})",
                soft_wrap=True,
                highlight=False,
            )
        if self.predictions:
            rows = [[name, model, *_told(one)] for name, model, one in self.predictions]
            header = ("", "fitted model", "ms", "held-out error, median", "90th percentile", "")
            table("predicted by a model fitted to measurements", header, rows)

    def _show_bounds(self) -> None:
        rows: list[list[str]] = []
        notes: dict[str, None] = {}
        sources: dict[str, None] = {}
        for name, device, found in self.bounds:
            for one in found:
                bandwidth = "not modelled" if one.bandwidth_ms is None else f"{one.bandwidth_ms:.4f}"
                numbers = (f"{one.peak_ms:.4f}", bandwidth, f"{one.bound_ms:.4f}", f"{one.in_turn_ms:.4f}")
                rows.append([name, device.title, one.precision, *numbers])
                notes.update(
                    {f"{name} on {device.title}, {one.precision}: {note}": None for note in one.notes}
                )
            sources.update({f"{device.title}: {s.title}, {s.link}": None for s in device.sources.values()})
            if not found:
                notes[f"{name} on {device.title}: no peak of its precision is published: not modelled"] = None
        header = ("", "device", "precision", "by peak", "by bandwidth", "at least, ms", "operators in turn")
        table("modelled: no run can be faster; no prediction of speed", header, rows)
        for line in (*notes, *sources):
            console.print(line, soft_wrap=True, highlight=False)


def device_tables(
    names: list[str],
    paths: Mapping[str, Path],
    batch: int,
    dims: dict[str, int],
    ledgers: Mapping[str, Ledger],
) -> DeviceTables:
    """Ask every device about every artifact.

    Args:
        names: of modelled devices, or .yaml files: of one's own devices or of fitted models.
        paths: ONNX files by artifact.
        batch: inputs a call.
        dims: sizes of other symbolic dimensions.
        ledgers: by artifact.

    Raises:
        InputError: no such device, or a file that is neither.
    """
    from paring_profiles.calibrated import is_fitted, predict, read_model
    from paring_profiles.devices_modelled import bounds, device, read_device, relative_energy

    found = DeviceTables()
    for name in names:
        is_file = name.endswith((".yaml", ".yml"))
        if is_file and is_fitted(Path(name)):
            model = read_model(Path(name))
            for artifact, path in paths.items():
                found.predictions.append((artifact, model.name, predict(model, path, batch, dims)))
            continue
        known = read_device(Path(name)) if is_file else device(name)
        for artifact, one in ledgers.items():
            found.bounds.append((artifact, known, bounds(one, known)))
            energy = relative_energy(one, known)
            if energy is not None:
                found.energies.append((artifact, known, energy))
    return found


def _told(one: Prediction) -> list[str]:
    if one.milliseconds is None:
        return ["refused", "-", "-", one.refused or ""]
    return [
        f"{one.milliseconds:.3f}",
        f"{one.median_error:.1%}",
        f"{one.p90_error:.1%}",
        f"on {one.variants} variants, {one.machine}",
    ]
