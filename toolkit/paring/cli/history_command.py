"""`paring history`: what was measured before."""

from __future__ import annotations

import csv
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api import extras
from .output import Json, console, print_json, table
from .store_options import Label, Machine, OneCase, Store, labels, place, selection

if TYPE_CHECKING:
    from paring_profiles.history import Entry


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(history)


def history(
    artifacts: Annotated[
        list[str] | None, typer.Argument(help="only these: names of candidates, or one artifact's path")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="an age (12h, 7d), a day (2026-01-31), a time or a profile's number")
    ] = None,
    machine: Machine = None,
    case: OneCase = None,
    label: Label = None,
    limit: Annotated[int, typer.Option(min=1, help="show the newest rows, so many")] = 20,
    store: Store = None,
    add: Annotated[
        list[Path] | None, typer.Option(help="store this profile.json, with the labels; repeatable")
    ] = None,
    report: Annotated[
        int | None, typer.Option(help="write the report of the profile of this number again, into --output")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the folder that --report writes into")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="print the rows as CSV")] = False,
    json: Json = False,
) -> None:
    """Show stored profiles, newest first, each with its change since the one before."""
    if (report is None) != (output is None):
        raise typer.BadParameter("--report and --output belong together")
    if json and as_csv:
        raise typer.BadParameter("one of --json and --csv, not both")
    if add:
        _add(place(store), add, labels(label))
        return
    if report is not None and output is not None:
        _report(place(store), report, output)
        return
    from paring_profiles.history import history as run

    with extras("reading the store"):
        wanted = selection(artifacts or [], machine, case, label, since=since, limit=limit)
        found = run(place(store), wanted)
    if json:
        print_json([_plain(entry) for entry in found])
    elif as_csv:
        _print_csv(found)
    else:
        _show(found, place(store))


def _add(store: Path, files: list[Path], told: dict[str, str]) -> None:
    """Read every file before the first is stored."""
    from paring_profiles.history import add_profile
    from paring_profiles.store import read

    opened = [read(file) for file in files]
    for file, profile in zip(files, opened, strict=True):
        number, new = add_profile(store, profile, told)
        console.print(f"{file}: {'stored as' if new else 'is there already,'} profile {number}")


def _report(store: Path, number: int, folder: Path) -> None:
    from paring_profiles.history import stored_profile

    from ..api import report

    if folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder", param_hint="'--output' / '-o'")
    written = report(stored_profile(store, number), folder)
    console.print(f"report    {written.html}", soft_wrap=True, highlight=False)


def _plain(entry: Entry) -> dict[str, Any]:
    row = dataclasses.asdict(entry.row)
    return {"created": entry.row.created, **row, "before": entry.before, "change": entry.change}


def _print_csv(found: list[Entry]) -> None:
    """Flat: an interval is two columns, a mapping is left out (--json has it)."""
    lines = []
    for entry in found:
        line: dict[str, Any] = {}
        for key, value in _plain(entry).items():
            if key.endswith("_ci95") or key == "p50_ci95_ms":
                line[f"{key}_low"], line[f"{key}_high"] = value or (None, None)
            elif key == "noise":
                line[key] = " ".join(value)
            elif key == "labels":
                line[key] = " ".join(f"{name}={told}" for name, told in value.items())
            elif not isinstance(value, dict):
                line[key] = value
        lines.append(line)
    if lines:
        writer = csv.DictWriter(sys.stdout, lines[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _show(found: list[Entry], store: Path) -> None:
    from paring_profiles.history import case_text

    if not found:
        console.print(f"no stored profile fits ({store})", soft_wrap=True, highlight=False)
        return
    seen = {entry.row.machine: entry.row.host for entry in found}
    rows = []
    for entry in found:
        row = entry.row
        low, high = row.p50_ci95_ms
        rows.append(
            [
                str(row.profile),
                row.created.replace("T", " ").removesuffix("Z"),
                row.name,
                case_text(row.case),
                f"{row.p50_ms:.3f} ({low:.3f}-{high:.3f})" + (" noisy" if row.noise else ""),
                "-" if entry.change is None else f"{entry.change:+.2%} on {entry.before}",
                "-" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:,.1f}",
                "-" if row.quality is None else f"{row.quality:.4f}",
                (row.artifact_digest or "-")[:12],
                *([row.machine] if len(seen) > 1 else []),
            ]
        )
    columns = ("no.", "UTC", "name", "case", "p50 ms (95 %)", "p50 since", "peak MB", "quality", "artifact")
    table("stored, measured", (*columns, *(["machine"] if len(seen) > 1 else [])), rows)
    for fingerprint, host in seen.items():
        told = [(host.cores_physical, "cores"), (host.cores_logical, "threads"), (host.memory_gib, "GiB")]
        parts = [f"{count} {what}" for count, what in told if count is not None]
        parts += [host.gpus] if host.gpus else []
        console.print(
            f"{fingerprint}  {', '.join([host.cpu, *parts, host.system])}",
            highlight=False,
        )
