"""The needle report: one HTML file that loads nothing, the same in Markdown, and everything as JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from paring_profiles.needle.result import Example, NeedleResult
from paring_profiles.report import ReportPaths, details, html, needle_tables, write_whole
from paring_profiles.report.marks import fence, table_lines, text
from paring_profiles.report.tables import Table
from paring_runtimes.errors import MissingExtraError

TEMPLATE = "needle.html.j2"
SHOWN = 700  # characters of a kept run that is no needle: longer ones are cut in the middle


def write(result: NeedleResult, folder: Path) -> ReportPaths:
    """Writes `needle.html`, `needle.md` and `needle.json` into `folder`, made when missing.

    Raises:
        MissingExtraError: the `report` extra is not installed.
    """
    page, words = render(result), markdown(result)
    folder.mkdir(parents=True, exist_ok=True)
    paths = ReportPaths(folder / "needle.html", folder / "needle.json", folder / "needle.md")
    write_whole(paths.json, to_json(result))
    write_whole(paths.markdown, words)
    write_whole(paths.html, page)
    return paths


def to_json(result: NeedleResult) -> str:
    """Every reading, cell and setting."""
    told = dataclasses.asdict(result)
    return json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def render(result: NeedleResult) -> str:
    """The page.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    context: dict[str, Any] = {
        "result": result,
        "headline": html.unbroken(needle_tables.headline(result)),
        "lines": [html.unbroken(line) for line in needle_tables.sentences(result)],
        "scoring": needle_tables.scoring(result.settings),
        "maps": needle_tables.maps(result),
        "summary": needle_tables.summary_table(result),
        "cells": needle_tables.cell_table(result),
        "method": needle_tables.METHOD,
        "settings": needle_tables.settings_rows(result),
        "machine": details.machine_rows(result.machine),
        "shorten": shorten,
    }
    try:
        return html.page(TEMPLATE, context)
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing a report", "report") from error


def shorten(value: str) -> str:
    """A long run of kept text, cut in the middle."""
    half = SHOWN // 2
    return value if len(value) <= SHOWN else f"{value[:half]} [...] {value[-half:]}"


def markdown(result: NeedleResult) -> str:
    """The report as GitHub-flavoured Markdown."""
    parts = [f"# {text(needle_tables.headline(result))}", ""]
    parts += [*(f"- {text(line)}" for line in needle_tables.sentences(result)), ""]
    for one in needle_tables.maps(result):
        rows = tuple((depth, *(cell.text for cell in cells)) for depth, cells in one.rows)
        parts += [f"## {text(one.title)}", "", f"Found: {text(one.note)}.", ""]
        parts += table_lines(Table(("depth \\ length", *one.lengths), rows))
    parts += ["## By length", "", *table_lines(needle_tables.summary_table(result))]
    parts += ["## Every cell", "", *table_lines(needle_tables.cell_table(result))]
    for example in result.examples:
        parts += _example(example)
    parts += ["## Conditions", "", needle_tables.METHOD, ""]
    parts += table_lines(Table(("Setting", ""), tuple(needle_tables.settings_rows(result))))
    parts += table_lines(Table(("Machine", ""), tuple(details.machine_rows(result.machine))))
    parts += table_lines(Table(("Tool", "Version"), tuple(sorted(result.tools.items()))))
    return "\n".join([*parts, f"Measured {text(result.created)}."]) + "\n"


def _example(example: Example) -> list[str]:
    own = example.reading
    title = f"## What was kept for {text(own.reader)}: {own.read_tokens:,} of {own.prompt_tokens:,} tokens"
    told = f"Asked for {', '.join(map(str, own.expected))}; told: {text(own.told)}"
    return [title, "", told, "", *fence(shorten(example.kept_text), "text"), ""]
