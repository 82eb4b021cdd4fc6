"""`paring import`: results of other tools, marked by their source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import extras
from .output import Json, console, print_json, table

if TYPE_CHECKING:
    from paring_profiles.imports import Results

Others = Annotated[
    list[Path] | None,
    typer.Option(
        "--imported",
        help="another tool's results, as `paring import -o` wrote them: a table of their own; repeatable",
    ),
]


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("import")(import_)


def import_(
    file: Annotated[Path, typer.Argument(help="what the other tool wrote")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="optimum-benchmark, trtexec, onnxruntime-profile, tvm-records or neurobench"
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="a JSON file, for --imported of report, serve and compare"),
    ] = None,
    json: Json = False,
) -> None:
    """Read another tool's results: shown with their source, never in a ratio with what paring measured."""
    with extras("importing results"):
        from paring_profiles.imports import import_results, write_results

        found = import_results(file, source)
        if output is not None:
            write_results(found, output)
    if json:
        print_json(found)
        return
    show_imported([found])
    if output is not None:
        console.print(f"imported  {output}", soft_wrap=True, highlight=False)


def show_imported(results: Sequence[Results]) -> None:
    """A table of its own, each row with its source, and below it what is not known."""
    rows = [
        [
            one.name,
            one.quantity,
            f"{one.value:,.6g} {one.unit}".strip(),
            one.statistic,
            _interval(one.interval95),
            f"{one.provenance}; {found.source}",
        ]
        for found in results
        for one in found.rows
    ]
    header = ("of", "quantity", "value", "", "95 % interval", "source")
    table("imported: not measured by paring", header, rows)
    for found in results:
        for line in dict.fromkeys(
            f"{found.title}: {', '.join(f'{k}: {v}' for k, v in one.context.items()) or 'no context'};"
            f" not told: {', '.join(one.unknown) or 'nothing that is missed'}"
            for one in found.rows
        ):
            console.print(line, soft_wrap=True, highlight=False)


def _interval(bounds: tuple[float, float] | None) -> str:
    return "only a summary is kept" if bounds is None else f"{bounds[0]:,.4g} to {bounds[1]:,.4g}"
