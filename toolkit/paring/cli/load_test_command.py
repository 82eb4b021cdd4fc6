"""`paring load-test`: put artifacts under load, as MLPerf's scenarios do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..api import extras
from .output import Json, console, errors, print_json, table
from .profile_command import dimensions, numbers

if TYPE_CHECKING:
    from paring_profiles.load import LoadResult

_UNITS_S = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(load_test)


def load_test(
    artifacts: Annotated[list[Path] | None, typer.Argument(help="artifact folders or ONNX files")] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option("--scenario", "-s", help="single_stream, multi_stream, server or offline; repeatable"),
    ] = None,
    qps: Annotated[float | None, typer.Option(help="server: queries that arrive a second")] = None,
    find_qps: Annotated[
        bool, typer.Option("--find-qps", help="server: the greatest rate that keeps the bound")
    ] = False,
    latency_bound: Annotated[
        str | None, typer.Option(help="server: what the 99th percentile shall stay within: 15ms")
    ] = None,
    samples_per_query: Annotated[int, typer.Option(help="multi_stream: samples a query")] = 8,
    duration: Annotated[str, typer.Option(help="of a run, at least: 10s, 10m")] = "10s",
    queries: Annotated[
        int | None, typer.Option(help="at least; default: as many as the scenario's percentile needs")
    ] = None,
    max_duration: Annotated[str, typer.Option(help="a run ends here, whatever is missing")] = "10m",
    batch: Annotated[
        int | None, typer.Option("--batch", "-b", help="samples in a call at most: waiting ones go together")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="of a worker; default: cores / workers")] = None,
    workers: Annotated[int, typer.Option(help="instances of the model")] = 1,
    cpus: Annotated[str | None, typer.Option(help="CPUs that everything runs on: 0-3,8")] = None,
    numa: Annotated[int | None, typer.Option(help="node whose CPUs and memory are used")] = None,
    starts: Annotated[int, typer.Option(help="cold and warm starts, fresh processes each")] = 5,
    engine: Annotated[list[str] | None, typer.Option(help="one an artifact, in order")] = None,
    name: Annotated[list[str] | None, typer.Option(help="one an artifact, in order")] = None,
    dim: Annotated[list[str] | None, typer.Option(help="size of a symbolic dimension: height=224")] = None,
    value: Annotated[
        list[str] | None, typer.Option("--input", help="an input that holds one number: sr=16000")
    ] = None,
    energy: Annotated[
        str, typer.Option(help="meters: auto (all that are present), none, or one of `paring list meters`")
    ] = "auto",
    energy_csv: Annotated[
        Path | None, typer.Option(help="an external meter's log, with time and watts")
    ] = None,
    energy_csv_offset: Annotated[float, typer.Option(help="seconds to add to that log's times")] = 0.0,
    seed: Annotated[int, typer.Option(help="of inputs, arrivals and intervals")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write HTML, Markdown and JSON into this folder")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="print load.json's JSON Schema, and no more")
    ] = False,
    json: Json = False,
) -> None:
    """Put artifacts under load: latency to a bound with confidence, throughput, starts, memory, energy."""
    if schema:
        from paring_profiles.report.load import load_schema

        print_json(load_schema())
        return
    if not artifacts:
        raise typer.BadParameter("give at least one artifact", param_hint="'ARTIFACTS'")
    if output is not None and output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output} is no folder", param_hint="'--output' / '-o'")
    with extras("load tests"):
        from paring_profiles.load.pinning import parse_cpus

        settings: dict[str, Any] = {
            "scenarios": tuple(scenario or ["single_stream"]),
            "qps": qps,
            "find_qps": find_qps,
            "latency_bound_ms": None
            if latency_bound is None
            else 1e3 * seconds("--latency-bound", latency_bound),
            "samples_per_query": samples_per_query,
            "duration_s": seconds("--duration", duration),
            "queries": queries,
            "max_seconds": seconds("--max-duration", max_duration),
            "batch": batch,
            "threads": threads if threads is not None else _threads(workers),
            "workers": workers,
            "cpus": () if cpus is None else parse_cpus(cpus),
            "numa": numa,
            "starts": starts,
            "seed": seed,
            "dims": dimensions(dim or []),
            "values": numbers(value or []),
            "energy": energy,
            "energy_csv": None if energy_csv is None else str(energy_csv),
            "energy_csv_offset_s": energy_csv_offset,
        }
        found = _run(artifacts, settings, name, engine, json)
        written = None
        if output is not None:
            from paring_profiles.report.load import write

            written = write(found, output)
    if json:
        print_json(found)
        return
    _show(found)
    if written is not None:
        console.print(f"report    {written.html}", soft_wrap=True, highlight=False)


def seconds(option: str, text: str) -> float:
    """A time with its unit, in seconds: "15ms", "10s", "2m"."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]+)", text.strip())
    if match is None or match[2] not in _UNITS_S:
        raise typer.BadParameter(f"{option} {text}: a time with its unit is needed, such as 15ms, 10s or 2m")
    return float(match[1]) * _UNITS_S[match[2]]


def _threads(workers: int) -> int:
    """The physical cores, shared out among the workers."""
    import psutil

    return max(1, (psutil.cpu_count(logical=False) or 1) // max(1, workers))


def _run(
    artifacts: list[Path],
    settings: dict[str, Any],
    names: list[str] | None,
    engines: list[str] | None,
    quiet: bool,
) -> LoadResult:
    """Run with a progress bar on standard error."""
    from paring_profiles.load import LoadSettings
    from paring_profiles.load import load_test as run

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    # Drawn when something is told, twice a second: a thread of its own would take the processor's time.
    with Progress(*columns, console=errors, disable=quiet, auto_refresh=False) as bar:
        task = bar.add_task("starting", total=1.0)

        def tell(stage: str, share: float) -> None:
            bar.update(task, description=stage, completed=share, refresh=True)

        return run(artifacts, LoadSettings(**settings), names=names, engines=engines, progress=tell)


def _show(found: LoadResult) -> None:
    """The headline and the tables."""
    from paring_profiles.report.load import headline, tables

    console.print(headline(found), soft_wrap=True, highlight=False)
    for line in tables.sentences(found):
        console.print(f"- {line}", soft_wrap=True, highlight=False)
    runs = tables.run_table(found)
    table("runs, measured", runs.header, runs.rows)
    for run in found.runs:
        if run.search is not None:
            probes = tables.probe_table(run)
            table(f"rates that were tried for {run.artifact}, measured", probes.header, probes.rows)
    for title, shown in (
        ("starts, measured", tables.start_table(found)),
        ("memory, measured", tables.memory_table(found)),
        ("energy an inference", tables.energy_table(found)),
    ):
        if shown is not None:
            table(title, shown.header, shown.rows)
    if not any(run.energies for run in found.runs):
        for meter, why in tables.meter_rows(found):
            console.print(f"meter     {meter}: {why}", soft_wrap=True)
    for line in tables.noise_lines(found):
        console.print(f"noise     {line}", soft_wrap=True)
