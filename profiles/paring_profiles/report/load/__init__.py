"""A load test's report: one HTML file that loads nothing, the same in Markdown, and everything as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_profiles.load.result import FILE_NAME, SCHEMA_VERSION, LoadResult, LoadRun
from paring_profiles.load.scenarios import find
from paring_profiles.report import ReportPaths, details, html, write_whole
from paring_profiles.report.drawing import Plot
from paring_profiles.report.load import plots, tables
from paring_profiles.report.load.tables import headline
from paring_profiles.report.marks import table_lines, text
from paring_profiles.report.rows import Table
from paring_runtimes.errors import MissingExtraError

__all__ = ["headline", "load_schema", "markdown", "render", "tables", "to_json", "write"]

TEMPLATE = "load/page.html.j2"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def write(result: LoadResult, folder: Path) -> ReportPaths:
    """Write `load.html`, `load.md` and `load.json` into `folder`, made when missing.

    Raises:
        MissingExtraError: the `report` extra is not installed.
    """
    page, words = render(result), markdown(result)
    folder.mkdir(parents=True, exist_ok=True)
    paths = ReportPaths(folder / "load.html", folder / FILE_NAME, folder / "load.md")
    write_whole(paths.json, to_json(result))
    write_whole(paths.markdown, words)
    write_whole(paths.html, page)
    return paths


def to_json(result: LoadResult) -> str:
    """Everything: no NaN, no infinities; see `load_schema`."""
    return json.dumps(dataclasses.asdict(result), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def load_schema() -> dict[str, Any]:
    """The JSON Schema of `load.json`; a reader of version N reads every version up to N."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(LoadResult).json_schema()
    schema["properties"]["schema_version"] |= {"maximum": SCHEMA_VERSION}
    return {"$schema": DIALECT, **schema}


@dataclass(frozen=True)
class _Described:
    """What the page shows of one scenario."""

    title: str
    what: str
    plots: list[Plot]
    runs: list[tuple[str, Table | None, Table | None]]  # name, percentiles, probes


def render(result: LoadResult) -> str:
    """The page.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    try:
        return html.page(TEMPLATE, _context(result))
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing a report", "report") from error


def _context(result: LoadResult) -> dict[str, Any]:
    return {
        "result": result,
        "headline": html.unbroken(headline(result)),
        "lines": [html.unbroken(line) for line in tables.sentences(result)],
        "noise": tables.noise_lines(result),
        "runs": tables.run_table(result),
        "scenarios": [_described(result, scenario) for scenario in dict.fromkeys(result.settings.scenarios)],
        "starts": tables.start_table(result),
        "start_plot": plots.starts(result),
        "memory": tables.memory_table(result),
        "energy": tables.energy_table(result),
        "meters": tables.meter_rows(result),
        "placement": tables.placement_rows(result),
        "method": tables.METHOD,
        "methods": tables.methods(result),
        "settings": tables.settings_rows(result),
        "machine": details.machine_rows(result.machine),
    }


def _described(result: LoadResult, scenario: str) -> _Described:
    module = find(scenario)
    runs = [_tables(run) for run in result.runs if run.scenario == scenario]
    what = f"{module.WHAT[:1].upper()}{module.WHAT[1:]}."
    return _Described(module.TITLE, what, plots.of_scenario(result, scenario), runs)


def _tables(run: LoadRun) -> tuple[str, Table | None, Table | None]:
    percentiles = tables.percentile_table(run.latency) if run.latency else None
    return tables.name(run), percentiles, tables.probe_table(run) if run.search else None


def markdown(result: LoadResult) -> str:
    """The report as GitHub-flavoured Markdown."""
    parts = [f"# {text(headline(result))}", ""]
    parts += [*(f"- {text(line)}" for line in tables.sentences(result)), ""]
    if noise := tables.noise_lines(result):
        parts += ["## Noisy", "", *(f"- {text(line)}" for line in noise), ""]
    parts += ["## Runs, measured", "", *table_lines(tables.run_table(result))]
    for run in result.runs:
        title, percentiles, probes = _tables(run)
        if percentiles:
            parts += [f"## {text(title)}", "", *table_lines(percentiles)]
        if probes:
            parts += ["Rates that were tried, in order:", "", *table_lines(probes)]
    if starts := tables.start_table(result):
        parts += ["## Starts, measured", "", *table_lines(starts)]
    parts += ["## Memory, measured", "", *table_lines(tables.memory_table(result))]
    parts += ["## Energy", "", *table_lines(tables.energy_table(result))]
    parts += table_lines(Table(("Meter", ""), tuple(tables.meter_rows(result))))
    parts += ["## Conditions", "", tables.METHOD, "", *(f"- {text(m)}" for m in tables.methods(result)), ""]
    for title, rows in (
        ("Placement", tables.placement_rows(result)),
        ("Setting", tables.settings_rows(result)),
        ("Machine", details.machine_rows(result.machine)),
        ("Tool", sorted(result.tools.items())),
    ):
        parts += table_lines(Table((title, ""), tuple(rows)))
    return "\n".join([*parts, f"Measured {text(result.created)}."]) + "\n"
