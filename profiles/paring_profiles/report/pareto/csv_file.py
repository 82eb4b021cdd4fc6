"""The report as CSV: a row a variant; every figure with its ends, in the unit that the head names."""

from __future__ import annotations

import csv
import io

from paring_profiles.report.pareto.page import Report

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(report: Report) -> str:
    """Text with a head; figures that a variant lacks are empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = ["key", "variant", "where", "baseline", "state", "standing", "probability", "engine", "precision"]
    heads += ["transforms", "reason", "artifact"]
    for axis in report.axes:
        named = f"{axis.title}, {axis.unit}, {axis.provenance}"
        heads += [named, f"{named}, low", f"{named}, high"]
    writer.writerow(heads)
    for one in report.variants:
        cells = [one.key, one.name, one.group, str(one.baseline).lower(), one.state, one.place or ""]
        cells += ["" if one.probability is None else repr(one.probability), one.engine, one.precision]
        cells += [" ".join(one.transforms), one.reason, one.artifact or ""]
        row = [plain(cell) for cell in cells]
        for axis in report.axes:
            own = one.figures.get(axis.name)
            row += ["", "", ""] if own is None else [repr(own.value), repr(own.low), repr(own.high)]
        writer.writerow(row)
    return file.getvalue()


def plain(text: str) -> str:
    """Words that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
