"""The report of many variants, of a sweep or of the store: HTML, Markdown, CSV, and JSON with a schema.

::

    from paring_profiles.report import pareto
    from paring_profiles.sweep import read_sweep

    pareto.write(pareto.from_sweep(read_sweep("OUT"), Path("OUT")), Path("report"))
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from paring_profiles.report.pareto.beside import pictures_of
from paring_profiles.report.pareto.csv_file import to_csv
from paring_profiles.report.pareto.from_store import Asked, from_store
from paring_profiles.report.pareto.from_sweep import from_sweep
from paring_profiles.report.pareto.html import Extras, render
from paring_profiles.report.pareto.imported import to_csv as imported_csv
from paring_profiles.report.pareto.imported import with_imported
from paring_profiles.report.pareto.markdown_file import markdown
from paring_profiles.report.pareto.page import Report
from paring_profiles.report.pareto.schema import report_schema
from paring_profiles.whole import write_whole
from paring_runtimes.errors import OutputError

__all__ = [
    "CSV",
    "IMPORTED_CSV",
    "JSON",
    "MARKDOWN",
    "Asked",
    "Extras",
    "Paths",
    "Report",
    "from_store",
    "from_sweep",
    "imported_csv",
    "markdown",
    "pictures_of",
    "render",
    "report_schema",
    "to_csv",
    "to_json",
    "with_imported",
    "write",
]

HTML, MARKDOWN, CSV, JSON = "index.html", "report.md", "report.csv", "report.json"
IMPORTED_CSV = "imported.csv"


@dataclass(frozen=True)
class Paths:
    """Where a report was written."""

    html: Path
    markdown: Path
    csv: Path
    json: Path
    imported: Path | None = None


def to_json(report: Report) -> str:
    """`report.json`: no NaN, no infinities; see `report_schema`."""
    return json.dumps(asdict(report), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write(report: Report, folder: Path, extras: Mapping[str, Extras] | None = None) -> Paths:
    """Write `index.html`, `report.md`, `report.csv` and `report.json` into `folder`, made when missing.

    Figures of other tools go into `imported.csv`; without any, one of an earlier report is removed. Each file
    appears whole or not at all, and none is written before all could be rendered.

    Raises:
        MissingExtraError: the `report` extra is not installed.
        OutputError: the folder cannot be made or written.
    """
    paths = Paths(*(folder / name for name in (HTML, MARKDOWN, CSV, JSON)))
    made = {
        paths.json: to_json(report),
        paths.csv: to_csv(report),
        paths.markdown: markdown(report),
        paths.html: render(report, extras),
    }
    theirs = folder / IMPORTED_CSV
    if report.imported:
        paths = replace(paths, imported=theirs)
        made[theirs] = imported_csv(report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not report.imported:
            theirs.unlink(missing_ok=True)
        for path, text in made.items():
            write_whole(path, text)
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written ({error.strerror})") from error
    return paths
