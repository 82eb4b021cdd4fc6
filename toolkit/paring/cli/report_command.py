"""`paring report`: a sweep, or the store, as one page, Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import extras
from .import_command import Others
from .output import Json, console, print_json, stages
from .recommend_command import Constrain
from .store_options import Label, Machine, OneCase, Store, place, selection

if TYPE_CHECKING:
    from paring_profiles.report.pareto import Extras, Report


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(report)


def report(
    sweep: Annotated[
        Path | None, typer.Argument(help="a sweep's folder; without one, the store is reported")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="write index.html, report.md, report.csv and report.json here"),
    ] = None,
    constraint: Constrain = None,
    minimise: Annotated[
        str | None,
        typer.Option(help="as for `paring recommend`; default: latency of a sweep, p50 of the store"),
    ] = None,
    confidence: Annotated[
        str,
        typer.Option(help="what must keep to a constraint: bound (an interval's worse end) or point"),
    ] = "bound",
    device: Annotated[str | None, typer.Option(help="recommend for this kind of device")] = None,
    graphs: Annotated[
        bool, typer.Option(help="read artifacts' graphs, for operations and modelled energy by part")
    ] = True,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="a needle.json or simulation.json: its maps and spikes go to the variant whose artifact"
            " it is of; repeatable"
        ),
    ] = None,
    imported: Others = None,
    store: Store = None,
    name: Annotated[list[str] | None, typer.Option(help="of stored candidates; repeatable")] = None,
    since: Annotated[
        str | None, typer.Option(help="an age (12h, 7d), a day (2026-01-31), a time or a profile's number")
    ] = None,
    machine: Machine = None,
    case: OneCase = None,
    label: Label = None,
    limit: Annotated[int, typer.Option(min=1, help="of the store, the newest rows, so many")] = 200,
    schema: Annotated[bool, typer.Option("--schema", help="print report.json's schema, and no more")] = False,
    json: Json = False,
) -> None:
    """Write the report of a sweep, or of what is stored: Pareto scatter, ranked table, assumptions."""
    if schema:
        from paring_profiles.report.pareto import report_schema

        print_json(report_schema())
        return
    if output is None:
        raise typer.BadParameter("a folder is needed", param_hint="'--output' / '-o'")
    if output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output} is no folder", param_hint="'--output' / '-o'")
    if sweep is not None and (store or name or since or machine or case or label):
        raise typer.BadParameter("a sweep's folder and options of the store: give one of the two")
    with extras("writing a report"), stages(json) as say:
        from paring_profiles.imports import read_results
        from paring_profiles.report import pareto

        theirs = [read_results(path) for path in imported or []]
        if sweep is not None:
            rules = (constraint, minimise, confidence, device)
            found, pictures = _of_sweep(sweep, rules, graphs, beside or [], say)
        else:
            asked = None
            if constraint or minimise:
                asked = pareto.Asked(constraint or (), minimise, confidence)
            wanted = selection(name or [], machine, case, label, since=since, limit=limit)
            found = pareto.from_store(place(store), wanted, asked)
            pictures = pareto.pictures_of(found, None, beside or [])
        found = pareto.with_imported(found, theirs)
        say("write")
        written = pareto.write(found, output, pictures)
    if json:
        print_json({"title": found.title, "report": written, "advice": found.advice})
        return
    console.print(found.title, soft_wrap=True, highlight=False)
    for sentence in (*found.sentences, *(found.advice.sentences if found.advice else ())):
        console.print(sentence, soft_wrap=True, highlight=False)
    console.print(f"report    {written.html}", soft_wrap=True, highlight=False)


def _of_sweep(
    folder: Path,
    rules: tuple[list[str] | None, str | None, str, str | None],
    graphs: bool,
    beside: list[Path],
    say: Callable[[str], None],
) -> tuple[Report, dict[str, Extras]]:
    from paring_profiles.report import pareto
    from paring_profiles.sweep import read_sweep, recommend

    found = read_sweep(folder)
    constraint, minimise, confidence, device = rules
    wished = constraint or minimise is not None
    chosen = recommend(found, constraint or (), minimise, confidence, device) if wished else None
    where = folder if folder.is_dir() else folder.parent
    made = pareto.from_sweep(found, where, chosen, graphs, say)
    return made, pareto.pictures_of(made, where, beside)
