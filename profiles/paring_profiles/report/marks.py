"""Text as Markdown: tables, code, and characters that would mean something else."""

from __future__ import annotations

import re
from collections.abc import Iterable

from paring_profiles.report.tables import Table


def table_lines(table: Table) -> list[str]:
    """The lines of a table, and an empty one."""
    rule = "| " + " | ".join("---" for _ in table.header) + " |"
    return [_line(table.header), rule, *(_line(row) for row in table.rows), ""]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(text(cell) for cell in cells) + " |"


def text(value: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    one_line = " ".join(value.split())
    return re.sub(r"([\\`*\[\]<>|#&])", r"\\\1", one_line)


def code(value: str) -> str:
    """A code span; its fence is longer than any run of backticks inside."""
    ticks = "`" * (_longest_run(value) + 1)
    pad = " " if "`" in value else ""
    return f"{ticks}{pad}{' '.join(value.split())}{pad}{ticks}"


def fence(value: str, language: str = "yaml") -> list[str]:
    """A block of code."""
    ticks = "`" * max(3, _longest_run(value) + 1)
    return [f"{ticks}{language}", value, ticks]


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
