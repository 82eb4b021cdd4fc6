"""`paring compare`: put recorded profiles side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..api import compare as run
from ..api import extras
from .import_command import show_imported
from .output import Json, print_json, table


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(compare)


def compare(
    profiles: Annotated[list[str], typer.Argument(help="profile.json files")],
    imported: Annotated[
        list[Path] | None,
        typer.Option(help="another tool's results, as `paring import -o` wrote them; repeatable"),
    ] = None,
    json: Json = False,
) -> None:
    """Compare recorded profiles. Ratios over separate runs are marked as not interleaved."""
    found = run(profiles)
    with extras("reading imported results"):
        from paring_profiles.imports import read_results

        others = [read_results(path) for path in imported or ()]
    if json:
        print_json({**asdict(found), "imported": others} if others else found)
        return
    measured = [
        [
            row.label,
            row.created,
            _case(row.latency),
            f"{row.latency.p50_ms:.3f}",
            _text(row.latency.p50_ci95_ms),
        ]
        for row in found.rows
    ]
    table("recorded, measured", ("model", "when", "case", "p50 ms", "95 % interval"), measured)
    ratios = [
        [
            row.candidate,
            row.baseline,
            _case(row),
            _text(row.latency_ratio),
            _text(row.latency_ratio_ci95),
            "in turn" if row.interleaved else "not interleaved",
            row.refused or row.verdict,
        ]
        for row in found.comparisons
    ]
    columns = ("model", "against", "case", "speed-up", "95 % interval", "measured", "verdict")
    table("comparisons", columns, ratios)
    if others:
        show_imported(others)


def _case(of: Any) -> str:
    if of.prompt_tokens is None:
        return f"batch {of.batch_size}"
    return f"batch {of.batch_size}, {of.prompt_tokens} tokens, {of.phase.replace('_', ' ')}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (tuple, list)):
        return " to ".join(_text(item) for item in value)
    return "-" if value is None else str(value)
