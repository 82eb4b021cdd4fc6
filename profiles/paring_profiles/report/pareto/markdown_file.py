"""The report as Markdown for a pull request: short, what is on the front first."""

from __future__ import annotations

from collections.abc import Sequence

from paring_profiles.report.marks import table_lines, text
from paring_profiles.report.pareto import imported, tables
from paring_profiles.report.pareto.axes import in_words, label
from paring_profiles.report.pareto.modelled import POINT_VALUES
from paring_profiles.report.pareto.page import Report, Variant
from paring_profiles.report.pareto.scatter import kind_of
from paring_profiles.report.tables import ABSENT, Table


def markdown(report: Report) -> str:
    """GitHub-flavoured Markdown."""
    parts = [f"## {text(report.title)}", "", *(f"- {text(line)}" for line in report.sentences), ""]
    if report.advice:
        parts += [*(f"> {text(line)}" for line in report.advice.sentences), ""]
    ready = [one for one in report.variants if one.state == "complete"]
    ahead = [one for one in ready if one.place in ("on", "maybe") or one.baseline]
    parts += ["### The front", "", *table_lines(_table(report, ahead))]
    parts += [
        "Figures with their 95 % intervals. On the front: undominated in at least 97.5 % of resamples;"
        " perhaps on the front: the intervals do not decide.",
        "",
    ]
    others = [one for one in ready if one not in ahead]
    if others:
        parts += _folded(f"{len(others)} others", table_lines(_table(report, others)))
    lost = [one for one in report.variants if one.state != "complete"]
    if lost:
        rows = tuple((f"{one.key}: {one.name}", one.state, one.reason or ABSENT) for one in lost)
        parts += _folded(
            f"{len(lost)} refused, failed or given up",
            table_lines(Table(("variant", "state", "reason"), rows)),
        )
    if report.energy_not_measured:
        parts += [text(report.energy_not_measured), ""]
    if report.modelled:
        title = f"Assumptions: {len(report.modelled)} modelled numbers, {len(report.constants)} constants"
        lines = table_lines(tables.modelled(report))
        if report.constants:
            lines += [text(POINT_VALUES), "", *table_lines(tables.constants(report))]
        parts += _folded(title, lines)
    if report.imported:
        parts += _folded(f"{imported.TITLE}: {len(report.imported)}, not measured by paring", _theirs(report))
    parts += [f"- {text(note)}" for note in report.notes]
    return "\n".join(parts).rstrip() + "\n"


def _table(report: Report, variants: Sequence[Variant]) -> Table:
    axes = report.objectives or report.axes
    rows = []
    for row, one in zip(tables.ranked(report, variants), sorted(variants, key=_order), strict=True):
        figures = [one.figures.get(axis.name) for axis in axes]
        cells = [ABSENT if f is None else in_words(f, a) for f, a in zip(figures, axes, strict=True)]
        rows.append((row.title, row.place, one.engine, *cells))
    return Table(("variant", "standing", "engine", *(label(axis) for axis in axes)), tuple(rows))


def _theirs(report: Report) -> list[str]:
    rows = tuple(
        (
            f"theirs: {one.tool}, {one.file}",
            one.name,
            f"{one.measures}, {one.statistic}",
            one.value,
            one.interval,
            one.device,
            one.provenance,
        )
        for one in imported.shown(report)
    )
    remarks = [f"- {text(line)}" for line in imported.remarks(report)]
    return [text(imported.CAVEAT), "", *table_lines(Table(imported.HEADER, rows)), *remarks, ""]


def _order(one: Variant) -> int:
    return ["on", "maybe", "baseline", "dominated", "unjudged"].index(kind_of(one))


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "</details>", ""]
