"""`paring compare`: put recorded profiles side by side, or stored ones against those of before."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..api import compare as run
from ..api import extras
from .import_command import Others, show_imported
from .output import Json, print_json, table
from .regressions_view import as_plain, share, show, write
from .store_options import Label, Machine, OneCase, Store, place, selection


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(compare)


def compare(
    profiles: Annotated[
        list[str] | None,
        typer.Argument(help="profile.json files; with --since: names of candidates, or one artifact's path"),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="stored profiles: the newest against what was stored first in this period; an age (12h, 7d),"
            " a day (2026-01-31), a time or a profile's number"
        ),
    ] = None,
    store: Store = None,
    machine: Machine = None,
    case: OneCase = None,
    label: Label = None,
    max_slowdown: Annotated[str, typer.Option(help="tolerated, of latency")] = "1%",
    max_memory_growth: Annotated[str, typer.Option(help="tolerated, of peak memory")] = "5%",
    max_size_growth: Annotated[str, typer.Option(help="tolerated, of the artifact's files")] = "1%",
    max_quality_drop: Annotated[
        str, typer.Option(help="tolerated, of the metric itself: 1% of accuracy is one point")
    ] = "0%",
    max_perplexity_rise: Annotated[
        str, typer.Option(help="tolerated, of a language model's perplexity")
    ] = "1%",
    ci: Annotated[bool, typer.Option("--ci", help="exit with 1 where something got worse")] = False,
    junit: Annotated[Path | None, typer.Option(help="write the comparisons as a JUnit file")] = None,
    imported: Others = None,
    json: Json = False,
) -> None:
    """Compare recorded profiles. Ratios over separate runs are marked as not interleaved.

    With --since, hold the newest stored profiles against those of before and tell regressions from chance.
    """
    limits = {
        "slowdown": share(max_slowdown, "--max-slowdown"),
        "memory_growth": share(max_memory_growth, "--max-memory-growth"),
        "size_growth": share(max_size_growth, "--max-size-growth"),
        "quality_drop": share(max_quality_drop, "--max-quality-drop"),
        "perplexity_rise": share(max_perplexity_rise, "--max-perplexity-rise"),
    }
    if since is None:
        stored_only = {"--ci": ci, "--junit": junit, "--store": store, "--machine": machine, "--case": case}
        if wrong := [option for option, value in {**stored_only, "--label": label}.items() if value]:
            raise typer.BadParameter(f"{wrong[0]} needs --since")
        if not profiles:
            raise typer.BadParameter("profile.json files are needed, or --since for stored profiles")
        _compare_files(profiles, imported or [], json)
        return
    if imported:
        raise typer.BadParameter("--imported is shown beside profile.json files, not with --since")
    with extras("comparing stored profiles"):
        from paring_profiles.history import Limits, regressions

        wanted = selection(profiles or [], machine, case, label, since=since)
        found = regressions(place(store), wanted, Limits(**limits))
    if junit is not None:
        write(found, junit)
    if json:
        print_json(as_plain(found))
    else:
        show(found)
    if ci and found.regressions:
        raise typer.Exit(1)


def _compare_files(profiles: list[str], imported: list[Path], json: bool) -> None:
    found = run(profiles)
    with extras("reading imported results"):
        from paring_profiles.imports import read_results

        others = [read_results(path) for path in imported]
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
    _show_energy(found)
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


def _show_energy(found: Any) -> None:
    """Of each candidate once, measured and modelled apart; savings within a profile, whose rounds pair."""
    from paring_profiles.report import energy

    groups: dict[str, dict[str, Any]] = {}
    for row in found.rows:
        groups.setdefault(row.profile, {})[row.label] = row.candidate
    shown = [energy.side_by_side(list(group.values()), list(group)) for group in groups.values()]
    table("recorded energy an inference", energy.HEADER, [row for one in shown for row in one.rows])


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
