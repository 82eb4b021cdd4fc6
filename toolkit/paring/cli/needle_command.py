"""`paring needle`: what language models still find in long prompts, whole and shortened by their filter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from paring_runtimes.errors import InputError

from ..api import extras
from .output import Json, console, errors, print_json, table

if TYPE_CHECKING:
    from paring_profiles.needle import NeedleResult, NeedleSettings


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(needle)


def needle(
    artifacts: Annotated[list[Path], typer.Argument(help="artifact folders of language models")],
    lengths: Annotated[str, typer.Option(help="tokens of prompt and answer together")] = "1024,2048",
    depths: Annotated[str, typer.Option(help="where the needle is, 0 to 1")] = "0,0.25,0.5,0.75,1",
    seeds: Annotated[int, typer.Option(min=1, help="prompts for each length and depth")] = 1,
    needles: Annotated[int, typer.Option(min=1, help="facts hidden in a prompt, all asked for")] = 1,
    reduce: Annotated[
        str | None,
        typer.Option(help="the filter keeps 1/2, 1/8, ... of a prompt: 2,8; default: the artifact's k"),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="prose: a file, or a folder of .txt and .html; default: a little, repeated"),
    ] = None,
    score: Annotated[str, typer.Option(help="answer (generated) or choice (likelihoods)")] = "answer",
    ask: Annotated[
        str, typer.Option(help="how prompts end: sentence (to go on with), question, or chat (its template)")
    ] = "sentence",
    pin_ends: Annotated[
        bool, typer.Option("--pin-ends", help="the filter keeps template and question anyway")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="intra-op threads")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write HTML, Markdown and JSON into this folder")
    ] = None,
    json: Json = False,
) -> None:
    """Hide facts in long texts and ask for them: quality and prefill time by length and depth."""
    with extras("looking for needles"):
        from paring_profiles.needle import FILLER, NeedleSettings
        from paring_profiles.needle.prose import read_prose

        settings = NeedleSettings(
            lengths=tuple(map(int, _numbers("lengths", lengths))),
            depths=tuple(_numbers("depths", depths)),
            seeds=seeds,
            needles=needles,
            reductions=tuple(map(int, _numbers("reduce", reduce or ""))),
            score=score,
            ask=ask,
            pin_ends=pin_ends,
            threads=threads,
        )
        hay, name = FILLER, "a little of paring's own, repeated"
        if text is not None:
            hay, name = read_prose(text), str(text)
        found = _run(artifacts, settings, hay, name, json)
        written = None
        if output is not None:
            from paring_profiles.report.needle import write

            written = write(found, output)
    if json:
        print_json(found)
        return
    _show(found)
    if written is not None:
        console.print(f"report    {written.html}", soft_wrap=True, highlight=False)


def _numbers(name: str, value: str) -> list[float]:
    """Numbers between commas; lengths and reductions are whole."""
    try:
        found = [float(part) for part in value.split(",") if part.strip()]
    except ValueError:
        found = [-1.0]
    whole = name != "depths"
    if any(one < 0 or (whole and one != int(one)) for one in found):
        kind = "whole numbers" if whole else "numbers from 0 to 1"
        raise InputError(f"{name}: expected {kind} between commas, given {value!r}")
    return found


def _run(artifacts: list[Path], settings: NeedleSettings, hay: str, name: str, quiet: bool) -> NeedleResult:
    """Run with a progress bar on standard error."""
    from paring_profiles.needle import run

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=quiet) as bar:
        task = bar.add_task("starting", total=1.0)

        def tell(stage: str, share: float) -> None:
            bar.update(task, description=stage, completed=share)

        return run(artifacts, settings, hay, name, tell)


def _show(found: NeedleResult) -> None:
    """A map of each reader, and the line of each length."""
    from paring_profiles.report import needle_tables

    console.print(needle_tables.headline(found), soft_wrap=True, highlight=False)
    for one in needle_tables.maps(found):
        rows = [(depth, *(cell.text for cell in cells)) for depth, cells in one.rows]
        table(f"{one.title}: {one.note}", ("depth", *one.lengths), rows)
    summary = needle_tables.summary_table(found)
    table("quality and prefill", summary.header, summary.rows)
    for line in needle_tables.sentences(found):
        console.print(line, soft_wrap=True, highlight=False)
