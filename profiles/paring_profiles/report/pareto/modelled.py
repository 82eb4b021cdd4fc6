"""The assumptions: every modelled number of a report, and the constants that it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from paring_profiles.ledger import prices
from paring_profiles.report.pareto.page import Axis, Constant, ModelledNumber, Variant

ENERGY = "energy_modelled"  # what names of the ledger's figures begin with
POINT_VALUES = (
    "The sources print one value a constant, without a range or an error, so that modelled energies have no"
    " interval. All variants are charged the same prices: take them for ratios between variants, not for the"
    " joules of a chip."
)
_PARTS = {
    "operations": "arithmetic",
    "dram": "external memory",
    "buffer": "on-chip buffer",
    "network": "network on chip",
    "registers": "registers",
}


def part_name(part: str) -> str:
    """A part of the ledger's energy in words."""
    return _PARTS.get(part, part)


def modelled_numbers(variants: Sequence[Variant], axes: Sequence[Axis]) -> list[ModelledNumber]:
    """Every modelled figure that the report shows."""
    found = []
    for one in variants:
        for axis in axes:
            figure = one.figures.get(axis.name)
            if figure is not None and figure.provenance == "modelled":
                told = ModelledNumber(one.key, axis.title, figure.value, axis.unit, figure.method)
                found.append(told)
        for part, value in one.modelled_uj.items():
            quantity = f"energy a call, modelled: {part_name(part)}"
            found.append(ModelledNumber(one.key, quantity, value, "µJ", one.modelled_method))
    return found


def constants(variants: Sequence[Variant]) -> list[Constant]:
    """What the ledger charges, where a variant's energy is the ledger's."""
    used = any(one.modelled_uj or any(n.startswith(ENERGY) for n in one.figures) for one in variants)
    if not used:
        return []
    chip = prices()
    found = [
        Constant(f"{arithmetic}: {kind}", value, "pJ an operation", chip.sources["operations"])
        for arithmetic, kinds in chip.operations.items()
        for kind, value in kinds.items()
    ]
    found += [
        Constant(f"access: {level.replace('_', ' ')}", value, "pJ for 16 bits", chip.sources["memory"])
        for level, value in chip.memory.items()
    ]
    array = chip.sources["memory"]
    found += [
        Constant("processing elements", float(chip.elements), "", array),
        Constant("on-chip buffer", float(chip.buffer_bits), "bits", array),
    ]
    return found
