"""`paring recommend`: which trial of a sweep to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import Json, console, print_json

if TYPE_CHECKING:
    from paring_profiles.sweep import Recommendation, Sweep

Constrain = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        "-c",
        metavar="TEXT",
        help="'p99<=12ms', 'drop<=0.5pp', 'size<=2MB', 'latency<=0.5x'; several with commas; repeatable",
    ),
]
Minimise = Annotated[
    str | None,
    typer.Option(
        help="latency, p50, p99, energy, size, memory or drop: least of those that fit; default: latency, or"
        " what a constraint says as 'least energy'"
    ),
]


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(recommend)


def recommend(
    sweep: Annotated[Path, typer.Argument(help="a sweep's folder, or its sweep.json")],
    constraint: Constrain = None,
    minimise: Minimise = None,
    confidence: Annotated[
        str,
        typer.Option(help="what must keep to a constraint: bound (an interval's worse end) or point"),
    ] = "bound",
    device: Annotated[str | None, typer.Option(help="kind of device, where there are several")] = None,
    json: Json = False,
) -> None:
    """Choose a trial under constraints; say the runner-up, or what misses by least and by how much."""
    from paring_profiles.sweep import read_sweep
    from paring_profiles.sweep import recommend as choose

    found = read_sweep(sweep)
    chosen = choose(found, constraint or (), minimise, confidence, device)
    if json:
        print_json(chosen)
        return
    show_recommendation(found, chosen)


def show_recommendation(sweep: Sweep, chosen: Recommendation) -> None:
    """It, with what the trial is and where its artifact lies."""
    from .sweep_table import show_trials

    rules = "; ".join(chosen.constraints) or "no constraint"
    console.print(
        f"\nleast {chosen.goal} under {rules} ({chosen.confidence})", highlight=False, soft_wrap=True
    )
    for sentence in chosen.sentences:
        console.print(sentence, highlight=False, soft_wrap=True)
    numbers = [n for n in (chosen.trial, chosen.runner_up, chosen.nearest) if n is not None]
    show_trials(
        sweep, [sweep.trial(number) for number in numbers], "recommended" if chosen.fitting else "nearest"
    )
    artifact = sweep.trial(numbers[0]).artifact
    console.print(f"artifact  {artifact}", highlight=False, soft_wrap=True)
