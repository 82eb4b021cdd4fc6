"""`paring calibrate-model`: a latency model of this machine, fitted to measured profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api import extras
from .output import Json, console, print_json, table


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("calibrate-model")(calibrate_model)


def calibrate_model(
    profiles: Annotated[list[Path], typer.Argument(help="profile.json files of one machine")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the model: a .yaml file")],
    seed: Annotated[int, typer.Option(help="of the cross-validation's folds")] = 0,
    json: Json = False,
) -> None:
    """Fit seconds a call, a multiply-accumulate and a byte, by kind of operator; tell the held-out error.

    `paring ledger ARTIFACT --device FILE.yaml` predicts with it, and refuses outside of the fitted range.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise typer.BadParameter(f"{output}: expected a .yaml file", param_hint="'--output' / '-o'")
    with extras("fitting a latency model"):
        from paring_profiles.calibrated import fit, points, write_model

        found, first = points(profiles)
        model = fit(found, first, output.stem, [str(path) for path in profiles], seed)
        write_model(model, output)
    if json:
        print_json(model)
        return
    console.print(
        f"{model.variants} variants on {model.machine}, {model.threads} threads, {model.engine}: held out,"
        f" the median error is {model.median_error:.1%}, the 90th percentile {model.p90_error:.1%}",
        soft_wrap=True,
        highlight=False,
    )
    rows = [
        [kind, *(_price(held[feature], unit) for feature, unit in UNITS.items())]
        for kind, held in model.constants.items()
    ]
    table("fitted: sums over operators", ("", "µs a call", "GMAC/s", "GMAC/s, attention", "GB/s"), rows)
    held_out = [
        [
            one.variant,
            str(one.batch_size),
            f"{one.measured_ms:.3f}",
            f"{one.predicted_ms:.3f}",
            f"{one.error:.1%}",
        ]
        for one in model.held_out
    ]
    table("held out", ("variant", "batch", "measured ms", "predicted ms", "error"), held_out)
    console.print(f"model     {output}", soft_wrap=True, highlight=False)


UNITS = {"calls": "us", "macs": "rate", "attention_macs": "rate", "bytes": "rate"}


def _price(seconds: float, unit: str) -> str:
    if seconds == 0:
        return "-"
    return f"{seconds * 1e6:.2f}" if unit == "us" else f"{1e-9 / seconds:,.1f}"
