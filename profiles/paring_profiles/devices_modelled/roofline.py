"""What no run can undercut: operations over peak, bytes over bandwidth. Modelled.

Williams et al., Roofline, https://doi.org/10.1145/1498765.1498785. The upper ends of a device's constants are
taken, so that the bound holds whatever their true value is. Counted are sums of products (element-wise work
may hide behind them), weights that do not fit on the chip, and of an operator's own operands what exceeds it:
operators run one by one; a kernel that fuses several may move less.
"""

from __future__ import annotations

from dataclasses import dataclass

from paring_profiles.ledger import Entry, Ledger

from .device import Device, Precision

_BITS: dict[Precision, int] = {"fp32": 32, "tf32": 32, "fp16": 16, "int16": 16, "int8": 8}
_NATIVE = 32  # bits of what the ledger counts where a graph is in floats
# Shifts and additions have no published peak on these devices: they run as multiply-accumulates.
_EIGHT: Precision = "int8"


@dataclass(frozen=True)
class LayerBound:
    """One operator: milliseconds that it needs at least, and which limit sets them."""

    layer: str
    operator: str
    bound_ms: float
    limited_by: str  # "peak" or "bandwidth"


@dataclass(frozen=True)
class Bound:
    """A call on a device in one precision. Modelled, and no prediction.

    Attributes:
        peak_ms: operations over the published peak.
        bandwidth_ms: bytes over the published bandwidth; None where none is published.
        bound_ms: the larger of both: computing and loading overlap perfectly.
        in_turn_ms: the sum over operators of the larger of both: they overlap within each operator only.
        notes: what had to be assumed, and what is not modelled.
    """

    device: str
    precision: str
    peak_ms: float
    bandwidth_ms: float | None
    bound_ms: float
    in_turn_ms: float
    layers: list[LayerBound]
    notes: list[str]
    provenance: str = "modelled: a lower bound"


def bounds(found: Ledger, device: Device) -> list[Bound]:
    """One for each precision that the device's makers publish and that is no wider than the graph's."""
    widest = max((_width(entry) for entry in found.entries), default=_NATIVE)
    return [roofline(found, device, name) for name in device.peak_tops if _BITS[name] <= widest]


def roofline(found: Ledger, device: Device, precision: Precision) -> Bound:
    """Bound one call.

    Args:
        found: the ledger of the graph.
        device: its constants.
        precision: of the sums of products; wider ones are taken as converted to it, narrower ones stay.
    """
    peak = device.peak_tops[precision].high * 1e12
    narrower = {name: one.high * 1e12 for name, one in device.peak_tops.items()}
    entries = [(entry, _fitted(entry, precision)) for entry in found.entries]
    weights = sum(entry.words.get("weights", 0.0) * scale for entry, scale in entries) / 8
    held = 0.0 if device.on_chip_mb is None else device.on_chip_mb.high * 1e6
    fetched = max(0.0, 1 - held / weights) if weights else 0.0
    layers, computing, loading, notes = [], 0.0, 0.0, _notes(device, weights, held)
    for entry, scale in entries:
        rate = narrower.get(_EIGHT, peak) if _width(entry) <= 8 else peak
        by_peak = 0.0 if entry.kind == "elementwise" else 2 * entry.count / rate
        by_bandwidth = 0.0
        if device.memory_gb_s is not None:
            moved = entry.words.get("weights", 0.0) * scale / 8 * fetched
            moved += max(0.0, entry.words.get("activations", 0.0) * scale / 8 - held) if held else 0.0
            by_bandwidth = moved / (device.memory_gb_s.high * 1e9)
        computing, loading = computing + by_peak, loading + by_bandwidth
        limit = "peak" if by_peak >= by_bandwidth else "bandwidth"
        layers.append(LayerBound(entry.layer, entry.operator, 1e3 * max(by_peak, by_bandwidth), limit))
    return Bound(
        device=device.name,
        precision=precision,
        peak_ms=1e3 * computing,
        bandwidth_ms=None if device.memory_gb_s is None else 1e3 * loading,
        bound_ms=1e3 * max(computing, loading),
        in_turn_ms=sum(layer.bound_ms for layer in layers),
        layers=layers,
        notes=notes,
    )


def relative_energy(found: Ledger, device: Device) -> dict[str, float] | None:
    """Energy by part, in multiply-accumulates of 16 bits, as if every operand were of 16 bits at most.

    None where no ratios are published.
    """
    prices = device.relative_energy
    if prices is None:
        return None
    parts = {"operations": float(found.terms)}
    for level in ("registers", "network", "buffer", "dram"):
        moved = sum(entry.bits.get(level, 0.0) * _fitted(entry, "int16") for entry in found.entries)
        parts[level] = moved / 16 * getattr(prices, level).value
    return parts


def _width(entry: Entry) -> int:
    """Bits of an operator's arithmetic."""
    return 8 if entry.arithmetic.startswith("int8") else 16 if entry.arithmetic.startswith("fp16") else 32


def _fitted(entry: Entry, precision: Precision) -> float:
    """By how much an operator's words shrink when it is converted to a precision."""
    return min(1.0, _BITS[precision] / _width(entry))


def _notes(device: Device, weights: float, held: float) -> list[str]:
    notes = []
    if device.memory_gb_s is None:
        notes.append("no bandwidth is published: the bound by bandwidth is not modelled")
    elif device.on_chip_mb is None:
        notes.append(f"no on-chip memory is published: {weights / 1e6:.1f} MB of weights are read every call")
    elif weights <= held:
        notes.append(f"{weights / 1e6:.1f} MB of weights may stay on the chip between calls: not read again")
    return notes
