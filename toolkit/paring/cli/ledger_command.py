"""`paring ledger`: operations, memory traffic and modelled energy of artifacts, side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api import extras
from .output import Json, console, print_json, table
from .profile_command import dimensions

if TYPE_CHECKING:
    from paring_profiles.ledger import Ledger

    from .device_tables import DeviceTables


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(ledger)


def ledger(
    artifacts: Annotated[
        list[str], typer.Argument(help="artifact folders or ONNX files; the first is the baseline")
    ],
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="inputs a call")] = 1,
    dim: Annotated[list[str] | None, typer.Option(help="size of a symbolic dimension: height=224")] = None,
    accounting: Annotated[
        str,
        typer.Option(
            help="'full', or 'paper': as ShiftAddViT's code counts, where layers that only add move"
            " nothing and products need no accumulation"
        ),
    ] = "full",
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="also a modelled device's bound (`paring list modelled-devices`), or what a fitted model"
            " predicts: the .yaml file of `paring calibrate-model`; repeatable"
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="a row for each layer of each artifact")] = False,
    json: Json = False,
) -> None:
    """Count multiplications, shifts, additions and words moved; price them on a 45 nm chip. All modelled."""
    from paring_profiles.ledger import ACCOUNTINGS, prices

    if accounting not in ACCOUNTINGS:
        raise typer.BadParameter(f"{accounting!r}; one of {', '.join(ACCOUNTINGS)}")
    sizes = dimensions(dim or [])
    found = _ledgers(artifacts, batch, sizes, accounting)
    timed = _devices(device or [], artifacts, batch, sizes, found)
    if json:
        told = {name: _as_dict(one) for name, one in found.items()}
        print_json({**told, "devices": timed.as_dict()} if device else told)
        return
    table(f"modelled, {prices().name}, batch {batch}, accounting: {accounting}", *_summary(found))
    for name, one in found.items():
        if layers:
            table(name, *_by_layer(one))
        if one.unpriced:
            console.print(f"{name}: not priced: {', '.join(one.unpriced)}")
    timed.show()
    for sentence in _rivals(found):
        console.print(sentence, soft_wrap=True, highlight=False)
    for what, source in prices().sources.items():
        console.print(f"{what}: {source}")


def _ledgers(artifacts: list[str], batch: int, dims: dict[str, int], accounting: str) -> dict[str, Ledger]:
    """One an artifact, and the first once more as if it were quantised to int8."""
    from paring_profiles import inputs
    from paring_profiles.candidates import default_names
    from paring_profiles.ledger import ledger as account
    from paring_profiles.onnx_graph import input_specs, open_graph

    with extras("the ledger"):
        paths = [_model_file(Path(item.removeprefix("onnx:"))) for item in artifacts]
        found = {}
        for number, (name, path) in enumerate(zip(default_names(artifacts), paths, strict=True)):
            shapes = inputs.concrete_shapes(input_specs(open_graph(path)), batch, dims, path)
            found[name] = account(path, shapes, accounting)
            if number == 0:
                found[f"{name} as int8"] = account(path, shapes, accounting, as_int8=True)
    return found


def _devices(
    names: list[str], artifacts: list[str], batch: int, dims: dict[str, int], found: dict[str, Ledger]
) -> DeviceTables:
    """Bounds of devices whose figures are published, and predictions of models that were fitted."""
    from paring_profiles.candidates import default_names

    from .device_tables import device_tables

    paths = [_model_file(Path(item.removeprefix("onnx:"))) for item in artifacts]
    own = {name: found[name] for name in default_names(artifacts)}
    with extras("modelling a device"):
        return device_tables(names, dict(zip(own, paths, strict=True)), batch, dims, own)


def _rivals(found: dict[str, Ledger]) -> list[str]:
    """Of each artifact that shifts or selects, whether int8 would have needed less energy."""
    from paring_profiles.ledger import against_int8

    (_, first), (_, int8), *others = found.items()
    told = [against_int8(name, own, first, int8) for name, own in others]
    return [sentence for sentence in told if sentence is not None]


def _model_file(path: Path) -> Path:
    """The graph of an artifact.

    Raises:
        InputError: it holds none.
    """
    from paring_runtimes import read_manifest
    from paring_runtimes.errors import InputError

    if path.is_file():
        return path
    manifest = read_manifest(path)
    if manifest.format != "onnx" or "generation" in manifest.graph:
        raise InputError(
            f"{path}: expected an ONNX graph called once; this is {manifest.format}, or answers prompts"
        )
    return path / manifest.entry


def _as_dict(one: Ledger) -> dict[str, Any]:
    totals = {"energy_uj": one.energy_uj(), "total_uj": one.total_uj, "counts": one.counts()}
    return {**asdict(one), **totals, "moved_bits": one.bits(), "moved_weight_bits": one.weight_bits()}


def _summary(found: dict[str, Ledger]) -> tuple[list[str], list[list[str]]]:
    from paring_profiles.ledger import KINDS

    kinds = [kind for kind in KINDS if any(one.counts()[kind] for one in found.values())]
    levels = ("dram", "buffer", "registers")
    header = [
        "",
        *(kind if kind != "synop" else "synop, at most" for kind in kinds),
        *(f"{'DRAM' if level == 'dram' else level}, of weights" for level in levels),
        "energy, µJ",
        "operations",
        "memory",
        "of the first",
    ]
    first = next(iter(found.values())).total_uj
    rows = []
    for name, one in found.items():
        counts, bits, weights, energy = one.counts(), one.bits(), one.weight_bits(), one.energy_uj()
        memory = one.total_uj - energy["operations"]
        rows.append(
            [
                name,
                *(f"{counts[kind]:,}" for kind in kinds),
                *(f"{bits[level] / 8e3:,.0f} kB, {weights[level] / 8e3:,.0f}" for level in levels),
                *(f"{value:,.1f}" for value in (one.total_uj, energy["operations"], memory)),
                f"{one.total_uj / first:.1%}",
            ]
        )
    return header, rows


def _by_layer(one: Ledger) -> tuple[list[str], list[list[str]]]:
    header = ["layer", "arithmetic", "multiply", "shift", "add", "DRAM", "buffer", "energy, µJ"]
    rows = [
        [
            entry.layer or entry.operator,
            entry.arithmetic,
            *(f"{entry.operations.get(kind, 0):,}" for kind in ("multiply", "shift", "add")),
            *(f"{entry.bits.get(level, 0) / 8e3:,.1f} kB" for level in ("dram", "buffer")),
            f"{entry.total_pj / 1e6:,.2f}",
        ]
        for entry in one.entries
    ]
    return header, rows
