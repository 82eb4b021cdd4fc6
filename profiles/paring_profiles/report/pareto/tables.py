"""The tables of the report: the ranked one, and the plain ones that HTML and Markdown share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paring_profiles.report import quantities
from paring_profiles.report.pareto.axes import between, in_words, label, shown
from paring_profiles.report.pareto.page import Report, Variant
from paring_profiles.report.pareto.scatter import PLACES, kind_of
from paring_profiles.report.tables import ABSENT, Table


@dataclass(frozen=True)
class Head:
    """A column's head: its words, what is small under them, and how it sorts."""

    text: str
    small: str
    kind: str


@dataclass(frozen=True)
class Sorted:
    """A cell and what it is sorted by."""

    text: str
    note: str
    sort: str


@dataclass(frozen=True)
class Ranked:
    """A row of the ranked table. `fields` are what the page filters by."""

    key: str
    title: str
    name: str
    kind: str
    place: str
    order: int
    group: str
    engine: str
    cells: list[Sorted]
    fields: dict[str, list[str]]


def heads(report: Report) -> list[Head]:
    """Of the ranked table."""
    found = [Head("#", "", "number"), Head("variant", "", "text"), Head("standing", "", "number")]
    if len(report.groups) > 1:
        found.append(Head("where", "", "text"))
    found.append(Head("engine", "", "text"))
    return found + [Head(axis.title, f"{axis.unit}, {axis.provenance}", "number") for axis in report.axes]


def ranked(report: Report, variants: Sequence[Variant]) -> list[Ranked]:
    """Rows in the report's order, baselines after what is on the front."""
    order = {"on": 0, "maybe": 1, "baseline": 2, "dominated": 3, "unjudged": 4}
    return [ranked_row(report, one) for one in sorted(variants, key=lambda v: order[kind_of(v)])]


def ranked_row(report: Report, one: Variant) -> Ranked:
    """One row."""
    kind, place = kind_of(one), PLACES[kind_of(one)]
    if one.place == "maybe":
        place += f", {one.probability:.0%}"
    order = list(PLACES).index(kind) * 1000 - round(999 * (one.probability or 0.0))
    cells = []
    for axis in report.axes:
        own = one.figures.get(axis.name)
        text = ABSENT if own is None else quantities.fixed(own.value, axis.digits)
        cells.append(
            Sorted(text, "" if own is None else between(own, axis), "" if own is None else repr(own.value))
        )
    fields = {
        "Standing": [PLACES[kind]],
        "Transform": list(dict.fromkeys(one.transforms)) or ["none"],
        "Engine": [one.engine],
        "Precision": [one.precision or "not known"],
        "Where": [one.group],
    }
    title = one.name if one.baseline else f"{one.key}: {one.name}"
    return Ranked(one.key, title, one.name, kind, place, order, one.group, one.engine, cells, fields)


def fields(rows: Sequence[Ranked]) -> dict[str, list[str]]:
    """What can be filtered by, and its values."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, values in row.fields.items():
            found.setdefault(name, {}).update(dict.fromkeys(values))
    return {name: sorted(values) if name != "Standing" else list(values) for name, values in found.items()}


def brief(report: Report, one: Variant) -> str:
    """The objectives in a line; of a variant that has none, why."""
    told = [
        f"{axis.title} {in_words(one.figures[axis.name], axis).removesuffix(' modelled')}"
        for axis in report.objectives
        if axis.name in one.figures
    ]
    return "; ".join(told) or one.reason


def figures(report: Report, one: Variant) -> Table:
    """Every figure with its interval, provenance and method."""
    rows = []
    for axis in report.axes:
        own = one.figures.get(axis.name)
        if own is not None:
            where = {"final": "final round, ", "trial": "own round, "}.get(own.round, "")
            rows.append(
                (
                    axis.title,
                    shown(own, axis),
                    between(own, axis) or "exact",
                    own.provenance,
                    where + own.method,
                )
            )
    return Table(("figure", "value", "95 % interval", "provenance", "method"), tuple(rows))


def metered(variants: Sequence[Variant]) -> Table:
    """Energy an inference by meter, with the parts that the meter tells apart."""
    rows = []
    for one in variants:
        for own in one.metered:
            parts = ", ".join(f"{name} {quantities.plain(mj)}" for name, mj in own.domains.items())
            value, ends = quantities.interval(own.low, own.high, own.mj)
            name = one.name if one.baseline else f"{one.key}: {one.name}"
            rows.append((name, own.meter, f"{value} mJ", ends, parts or ABSENT))
    return Table(("variant", "meter", "measured", "95 % interval", "parts, mJ"), tuple(rows))


def gain_sentence(one: Variant) -> str:
    """What the variant gained, and what its operations promise."""
    if one.gain is None or one.baseline:
        return ""
    own = one.gain
    between_ = f"{quantities.fixed(own.low, 2)} to {quantities.fixed(own.high, 2)}"
    said = f"{quantities.ratio(own.realised)} as fast as the baseline ({between_}, measured)"
    if own.ideal is None or own.share is None:
        return f"{said}; its operations were not counted."
    return (
        f"{said}; its multiply-accumulates promise {quantities.ratio(own.ideal)}: "
        f"{quantities.fixed(100 * own.share, 0)} % of that is realised."
    )


def modelled(report: Report) -> Table:
    """Every modelled number."""
    rows = [
        (one.variant, one.quantity, f"{quantities.plain(one.value)} {one.unit}", one.method)
        for one in report.modelled
    ]
    return Table(("variant", "quantity", "value", "model"), tuple(rows))


def constants(report: Report) -> Table:
    """What the models take for granted."""
    rows = [(one.name, f"{one.value:,.10g} {one.unit}".strip(), one.source) for one in report.constants]
    return Table(("constant", "value", "source"), tuple(rows))


def columns(report: Report) -> list[str]:
    """Heads of plain tables of figures."""
    return [label(axis) for axis in report.axes]


def listed(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
