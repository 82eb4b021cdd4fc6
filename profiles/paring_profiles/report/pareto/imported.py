"""Other tools' figures in the report: a table of their own, each row marked as theirs and by its tool."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paring_profiles.imports import Imported, Results
from paring_profiles.report.pareto.csv_file import plain
from paring_profiles.report.pareto.page import Report, Theirs

TITLE = "Figures of other tools"
CAVEAT = (
    "Theirs: not measured by paring, and on no axis, front or ranking of this report. Another tool warms up,"
    " counts and summarises in its own way; no ratio with figures above is drawn."
)
HEADER = ("whose", "of", "measures", "value", "95 % interval", "device", "known by")
NOT_TOLD, SUMMARY = "not told", "only a summary is kept"


@dataclass(frozen=True)
class Shown:
    """A row of the table; `statistic` stands small under `measures`."""

    tool: str
    file: str
    name: str
    measures: str
    statistic: str
    value: str
    interval: str
    device: str
    provenance: str


def with_imported(report: Report, results: Sequence[Results]) -> Report:
    """The report with other tools' results beside it; see `imports.read_results`."""
    rows = [theirs(found, one) for found in results for one in found.rows]
    return dataclasses.replace(report, imported=rows)


def theirs(found: Results, one: Imported) -> Theirs:
    """A row of another tool as the report keeps it; of the file's path, the name alone."""
    low, high = one.interval95 or (None, None)
    return Theirs(
        tool=found.title,
        file=Path(found.file).name,
        name=one.name,
        quantity=one.quantity,
        value=one.value,
        unit=one.unit,
        statistic=one.statistic,
        low=low,
        high=high,
        device=one.device,
        provenance=one.provenance,
        context=one.context,
        unknown=one.unknown,
    )


def shown(report: Report) -> list[Shown]:
    """Every row in words."""
    return [
        Shown(
            tool=one.tool,
            file=one.file,
            name=one.name,
            measures=one.quantity,
            statistic=one.statistic,
            value=f"{one.value:,.6g} {one.unit}".strip(),
            interval=SUMMARY if one.low is None else f"{one.low:,.4g} to {one.high:,.4g}",
            device=one.device or NOT_TOLD,
            provenance=one.provenance,
        )
        for one in report.imported
    ]


def remarks(report: Report) -> list[str]:
    """What each file tells besides, and what it leaves open; the same sentence once."""
    return list(
        dict.fromkeys(
            f"{one.tool}, {one.file}: "
            f"{', '.join(f'{key} {value}' for key, value in one.context.items()) or 'no context is told'}. "
            f"Not told: {', '.join(one.unknown) or 'nothing that is missed'}."
            for one in report.imported
        )
    )


def to_csv(report: Report) -> str:
    """A row a figure, in a file of its own, for the other one has a row a variant."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = ["whose", "tool", "file", "of", "measures", "statistic", "value", "low", "high", "unit"]
    writer.writerow([*heads, "device", "known by", "context", "not told"])
    for one in report.imported:
        ends = ["" if end is None else repr(end) for end in (one.low, one.high)]
        context = "; ".join(f"{key}: {value}" for key, value in one.context.items())
        words = [one.tool, one.file, one.name, one.quantity, one.statistic]
        last = [one.unit, one.device, one.provenance, context, "; ".join(one.unknown)]
        row = ["theirs", *map(plain, words), repr(one.value), *ends, *map(plain, last)]
        writer.writerow(row)
    return file.getvalue()
