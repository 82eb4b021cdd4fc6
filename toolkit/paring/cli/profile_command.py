"""`paring profile`: measure artifacts in turn and write the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from paring_runtimes.errors import StoreError

from ..api import extras
from .output import Json, console, errors, print_json, table
from .store_options import Label, Store, labels
from .storing import NoStore, keep, usable


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(profile)


def profile(
    artifacts: Annotated[
        list[str], typer.Argument(help="artifact folders or ONNX files; the first is the baseline")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write the report into this folder")
    ] = None,
    name: Annotated[list[str] | None, typer.Option(help="one an artifact, in order; repeatable")] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="one an artifact, in order, see `paring list engines`"),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(help="TVM artifacts on another machine: rpc://HOST:PORT/KEY of TVM's tracker"),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option("--batch", "-b", help="batch size; repeatable")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="default: the physical cores")] = None,
    openings: Annotated[
        int, typer.Option(min=4, help="how often each artifact is opened anew, an even number")
    ] = 10,
    min_runs: Annotated[int, typer.Option(min=1, help="timed runs a candidate, at least")] = 100,
    min_seconds: Annotated[float, typer.Option(min=0, help="timed seconds a candidate, at least")] = 3.0,
    max_seconds: Annotated[float, typer.Option(min=0, help="give up a measurement after this")] = 120.0,
    dim: Annotated[list[str] | None, typer.Option(help="size of a symbolic dimension: height=224")] = None,
    value: Annotated[
        list[str] | None,
        typer.Option("--input", help="an input that holds one number, not random ones: sr=16000; repeatable"),
    ] = None,
    prompt_tokens: Annotated[
        list[int] | None, typer.Option(help="language models: tokens of a prompt; may be repeated")
    ] = None,
    new_tokens: Annotated[int, typer.Option(help="language models: tokens of an answer")] = 32,
    text: Annotated[
        Path | None, typer.Option(help="language models: cut prompts from this file; default: random ids")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="vision-language models: see this file; default: random pixels")
    ] = None,
    energy: Annotated[
        str,
        typer.Option(help="meters: auto (all that are present), none, or one of `paring list meters`"),
    ] = "auto",
    energy_csv: Annotated[
        Path | None,
        typer.Option(help="log that an external meter's program writes meanwhile: CSV with time and watts"),
    ] = None,
    energy_csv_offset: Annotated[
        float, typer.Option(help="seconds to add to that log's times to get this machine's")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="of the inputs and of the order")] = 0,
    store: Store = None,
    no_store: NoStore = False,
    label: Label = None,
    json: Json = False,
) -> None:
    """Measure latency, memory, energy and cost of artifacts side by side, interleaved in one process."""
    import psutil

    if output is not None and output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output} is no folder", param_hint="'--output' / '-o'")
    if on is not None and engine:
        raise typer.BadParameter("--on runs TVM's own runtime there: leave --engine out")
    settings: dict[str, Any] = {
        "batch_sizes": tuple(batch or [1]),
        "threads": threads or psutil.cpu_count(logical=False) or 1,
        "openings": openings,
        "min_runs": min_runs,
        "min_seconds": min_seconds,
        "max_seconds": max_seconds,
        "seed": seed,
        "dims": dimensions(dim or []),
        "values": numbers(value or []),
        "prompt_tokens": tuple(prompt_tokens or [128]),
        "new_tokens": new_tokens,
        "text": None if text is None else str(text),
        "image": None if image is None else str(image),
        "energy": energy,
        "energy_csv": None if energy_csv is None else str(energy_csv),
        "energy_csv_offset_s": energy_csv_offset,
    }
    paths = [_file(item) for item in artifacts]
    told, to = labels(label), usable(store, no_store)
    found = measure(paths, name, settings, json, engine, on)
    written = None
    if output is not None:
        from ..api import report

        written = report(found, output)
    number = keep(found, to, told)
    if json:
        print_json(found)
    else:
        _tell(found, written, number, to)
    if store is not None and number is None:
        raise typer.Exit(StoreError.exit_code)


def _tell(found: Any, written: Any, number: int | None, store: Path | None) -> None:
    """The tables, and where everything lies."""
    show(found)
    if written is not None:
        console.print(f"report    {written.html}", soft_wrap=True, highlight=False)
    if number is not None:
        console.print(f"stored    profile {number} in {store}", soft_wrap=True, highlight=False)


def measure(
    paths: list[str],
    names: list[str] | None,
    settings: dict[str, Any],
    quiet: bool,
    engines: list[str] | None = None,
    on: str | None = None,
) -> Any:
    """Profile with a progress bar on standard error."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with extras("profiling"), Progress(*columns, console=errors, disable=quiet) as bar:
        from paring_profiles import profile as run
        from paring_profiles import profile_remote
        from paring_profiles.result import Settings

        task = bar.add_task("starting", total=1.0)

        def tell(stage: str, share: float) -> None:
            bar.update(task, description=stage, completed=share)

        if on is not None:
            return profile_remote(paths, on, Settings(**settings), names=names, progress=tell)
        return run(paths, Settings(**settings), names=names, progress=tell, engines=engines)


def show(found: Any) -> None:
    """The headline, and a row for each candidate and batch size."""
    from paring_profiles.report import headline

    console.print(headline(found), soft_wrap=True, highlight=False)
    ratios = {(c.candidate, c.case): c for c in found.comparisons}
    every = [(candidate, latency) for candidate in found.candidates for latency in candidate.latency]
    asked = any(latency.phase for _, latency in every)
    if asked:  # figures of one phase below each other
        order = list(dict.fromkeys(latency.case for _, latency in every))
        every.sort(key=lambda pair: order.index(pair[1].case))
    rows = []
    for candidate, latency in every:
        against = ratios.get((candidate.name, latency.case))
        macs = candidate.macs_of(latency.case)
        row = [
            candidate.name,
            str(latency.batch_size),
            *([str(latency.prompt_tokens), latency.phase.replace("_", " ")] if asked else []),
            f"{latency.p50_ms:.3f} ({latency.p50_ci95_ms[0]:.3f}-{latency.p50_ci95_ms[1]:.3f})",
            _maybe(latency.p90_ms, "{:.3f}"),
            *([] if asked else [_maybe(latency.p99_ms, "{:.3f}")]),
            _maybe(macs and macs / 1e6, "{:,.1f}"),
            "baseline" if candidate is found.candidates[0] else _ratio(against),
            _maybe(against and against.mac_ratio, "{:.3f}"),
            _maybe(against and against.realised, "{:.3f}"),
        ]
        rows.append(row)
    more = ("prompt", "phase") if asked else ()
    columns = ("model", "batch", *more, "p50 ms (95 %)", "p90", *(() if asked else ("p99",)))
    columns += ("MMACs", "speed-up", "ideal", "realised")
    table(f"latency, measured, {found.settings.threads} threads", columns, rows)
    for candidate in found.candidates:
        if candidate.macs_unknown:
            without = ", ".join(candidate.macs_unknown)
            console.print(f"MACs      of {candidate.name} without {without}", soft_wrap=True)
    _show_agreement(found)
    _show_caches(found)
    _show_energy(found)
    for sentence in found.noise:
        console.print(f"noise     {sentence}", soft_wrap=True)


def _show_agreement(found: Any) -> None:
    """How near candidates of one model come to the first, each by its engine or format."""
    rows = [
        [
            candidate.name,
            f"{near.max_abs:.2g}",
            "equal" if near.snr_db is None else f"{near.snr_db:.1f} dB",
            f"{near.argmax_alike:.1%}",
            str(near.samples),
        ]
        for candidate in found.candidates
        if (near := candidate.agreement) is not None
    ]
    if rows:
        columns = ("model", "max abs", "signal-to-noise", "argmax alike", "random inputs")
        table(f"outputs against those of {found.candidates[0].name}, measured", columns, rows)


def _show_energy(found: Any) -> None:
    """Energy, measured and modelled in columns of their own; then what the meters said."""
    from paring_profiles.report import energy

    shown = energy.side_by_side(found.candidates)
    table("energy an inference", shown.header, shown.rows)
    measured = any(candidate.energies for candidate in found.candidates)
    for state in found.meters:
        if state.why_not and not measured:
            console.print(f"meter     {state.name}: {state.why_not}", soft_wrap=True, markup=False)
        for sentence in state.said:
            console.print(f"meter     {state.name}: {sentence}", soft_wrap=True, markup=False)


def _show_caches(found: Any) -> None:
    """What language models read and held."""
    rows = [
        [
            candidate.name,
            str(one.batch_size),
            str(one.prompt_tokens),
            str(one.read_tokens),
            f"{one.cache_bytes / 1e6:,.3f}",
            f"{one.buffer_bytes / 1e6:,.3f}",
            "\n".join(f"{s.transform} {s.place}: {s.before} -> {s.after}" for s in one.stages) or "none",
        ]
        for candidate in found.candidates
        for one in candidate.answered
    ]
    if rows:
        columns = ("model", "batch", "prompt", "read", "KV MB", "buffers MB", "tokens dropped or merged")
        table("key-value cache after the prompt, measured", columns, rows)


def _ratio(against: Any) -> str:
    if against is None:
        return "-"
    low, high = against.latency_ratio_ci95
    return f"{against.latency_ratio:.3f} ({low:.3f}-{high:.3f}) {against.verdict}"


def _maybe(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def _file(item: str) -> str:
    """The file or folder of an argument, which may be written as a source."""
    if item.startswith("onnx:") and "?" in item:
        raise typer.BadParameter(f"{item}: give the file alone, and --dim NAME=SIZE or --input NAME=NUMBER")
    return item.removeprefix("onnx:")


def numbers(items: list[str]) -> dict[str, float]:
    """Numbers that inputs hold, from `NAME=NUMBER`."""
    found = {}
    for item in items:
        name, _, number = item.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise typer.BadParameter(f"--input {item}: NAME=NUMBER is needed, such as sr=16000") from None
    return found


def dimensions(items: list[str]) -> dict[str, int]:
    """Sizes of symbolic dimensions, from `NAME=SIZE`."""
    sizes = {}
    for item in items:
        name, _, size = item.partition("=")
        if not size.isdigit():
            raise typer.BadParameter(f"--dim {item}: NAME=SIZE is needed, for example height=224")
        sizes[name] = int(size)
    return sizes
