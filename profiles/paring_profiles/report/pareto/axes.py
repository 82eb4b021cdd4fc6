"""Axes and figures: measures of trials in the reader's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paring_profiles.report import quantities
from paring_profiles.report.pareto.page import Axis, Figure, Variant
from paring_profiles.sweep import MEASURES, Measure, Named

_SIGNS = {"x": "×", "uJ": "µJ"}
_FIRST = ("latency_relative", "latency_p50_ms", "drop", "accuracy", "size_bytes")


def figures_of(measures: Mapping[str, Measure], more: Mapping[str, Named] | None = None) -> dict[str, Figure]:
    """Measures in their readers' units; `more` names those that sweeps do not have."""
    known = {**MEASURES, **(more or {})}
    found = {}
    for name, one in measures.items():
        scale = known[name].scale
        ends = (one.value * scale, one.low * scale, one.high * scale)
        found[name] = Figure(*ends, provenance=one.provenance, method=one.method, round=one.round)
    return found


def axes_of(
    objectives: Sequence[str], variants: Sequence[Variant], more: Mapping[str, Named] | None = None
) -> list[Axis]:
    """The objectives, then every other measure that some variant has."""
    known = {**MEASURES, **(more or {})}
    present = {name for variant in variants for name in variant.figures}
    order = dict.fromkeys([*objectives, *_FIRST, *known])
    axes = []
    for name in (name for name in order if name in present):
        own = known[name]
        digits, unit = own.digits, _SIGNS.get(own.shown_as, own.shown_as)
        if name == "size_bytes":  # small models differ in kilobytes
            largest = max(v.figures[name].value for v in variants if name in v.figures)
            digits = min(own.digits, quantities.decimals(largest, 4))
        axes.append(Axis(name, own.title, unit, digits, own.minimise, own.provenance, name in objectives))
    return axes


def shown(figure: Figure, axis: Axis) -> str:
    """The value with its unit: "0.843×", "5.9 MB"."""
    space = "" if axis.unit == "×" else " "
    return f"{quantities.fixed(figure.value, axis.digits)}{space}{axis.unit}"


def between(figure: Figure, axis: Axis) -> str:
    """The interval: "0.83 to 0.86", or "" where the figure is exact."""
    if figure.low == figure.high:
        return ""
    low, high = (quantities.fixed(end, axis.digits) for end in (figure.low, figure.high))
    return f"{low} to {high}"


def in_words(figure: Figure, axis: Axis) -> str:
    """Value, unit, interval and whether it is modelled."""
    ends = between(figure, axis)
    text = shown(figure, axis) + (f" ({ends})" if ends else "")
    return text + (" modelled" if figure.provenance == "modelled" else "")


def label(axis: Axis) -> str:
    """An axis in words, with its unit and provenance: "size, MB, measured"."""
    provenance = "" if axis.provenance in axis.title else f", {axis.provenance}"
    return f"{axis.title}, {axis.unit}{provenance}"
