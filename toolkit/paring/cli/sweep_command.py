"""`paring sweep`: many variants of one recipe, and which of them are worth having."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api import extras
from .output import Json, console, errors, print_json, stages
from .recipe_options import Allow, Set
from .recommend_command import Constrain, Minimise, show_recommendation
from .sweep_table import show_front

if TYPE_CHECKING:
    from ..sweep import Plan


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(sweep)


def sweep(
    recipe: Annotated[Path, typer.Argument(help="a YAML recipe, which every trial changes")],
    space: Annotated[
        Path, typer.Option(help="a YAML file of what is varied; `paring recipe schema --space`")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="the sweep's folder; made, or gone on in")],
    objectives: Annotated[
        str,
        typer.Option(
            help="with commas: latency (against the baseline), p50, p99, throughput, accuracy, size, memory,"
            " energy (measured where there is a meter, else modelled)"
        ),
    ] = "latency,accuracy",
    energy: Annotated[
        str,
        typer.Option(
            metavar="METER",
            help="of that objective: auto (the meter that sees the CPU, else modelled), modelled, or one of"
            " `paring list meters`: rapl, nvml, hwmon:SENSOR, external:LOG.csv",
        ),
    ] = "auto",
    set_: Set = None,
    trials: Annotated[int, typer.Option(min=1, help="all runs together")] = 20,
    sampler: Annotated[str, typer.Option(help="tpe, nsga2, random or grid")] = "tpe",
    seed: Annotated[int, typer.Option(help="of the sampler, the inputs and the order of timing")] = 0,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="inputs a call that is timed")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="default: the physical cores")] = None,
    min_runs: Annotated[int, typer.Option(min=1, help="timed runs of each model, at least")] = 100,
    min_seconds: Annotated[float, typer.Option(min=0, help="timed seconds of each model, at least")] = 3.0,
    prune_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="give a variant up before exporting where its first images show a larger drop, a share;"
            " default: the recipe's gate, if it has one",
        ),
    ] = None,
    prune_images: Annotated[int, typer.Option(min=10, help="how many first images")] = 200,
    timeout: Annotated[
        float, typer.Option(min=1, help="seconds a trial, waiting for its turn on the machine not counted")
    ] = 1800,
    final: Annotated[int, typer.Option(min=0, help="trials of the front timed together at the end")] = 12,
    constraint: Constrain = None,
    minimise: Minimise = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="trials at once: 1, or as many as a cluster has machines")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="auto, HOST:PORT, or local:N for N workers here")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="keep artifacts here for all machines: s3://..., file://..."),
    ] = None,
    extend: Annotated[bool, typer.Option("--extend", help="go on although the space has changed")] = False,
    allow: Allow = None,
    json: Json = False,
) -> None:
    """Convert and measure variants of a recipe; write sweep.json, Markdown, CSV; go on where it stopped."""
    import psutil

    with extras("a sweep"):
        import optuna  # noqa: F401  missed now rather than after the baseline

        from ..recipe import load_recipe
        from ..sweep import Plan, load_space

        whole = load_recipe(recipe, set_ or ())
        plan = Plan(
            recipe=whole,
            space=load_space(space, whole),
            objectives=tuple(part.strip() for part in objectives.split(",") if part.strip()),
            output=output,
            trials=trials,
            sampler=sampler,
            seed=seed,
            batch=batch,
            threads=threads or psutil.cpu_count(logical=False) or 1,
            min_runs=min_runs,
            min_seconds=min_seconds,
            prune_drop=prune_drop if prune_drop is not None else _gate(whole),
            prune_images=prune_images,
            timeout_s=timeout,
            final=final,
            allow=tuple(allow or ()),
            extend=extend,
            energy=energy,
        )
        found = _run(plan, ray, workers, storage, json)
        from paring_profiles.sweep import recommend
        from paring_profiles.sweep.tables import write_tables

        written = write_tables(found, output)
    chosen = recommend(found, constraint, minimise) if constraint else None
    if json:
        print_json({"sweep": found, "recommendation": chosen})
        return
    show_front(found)
    for file in (output / "sweep.json", *written):
        console.print(f"written   {file}", soft_wrap=True, highlight=False)
    if chosen is not None:
        show_recommendation(found, chosen)


def _run(plan: Plan, ray: str | None, workers: int | None, storage: str | None, quiet: bool) -> Any:
    """Run it, a line a trial on standard error."""
    from ..sweep import run
    from ..sweep.pools import LocalPool

    make: Any = partial(LocalPool, workers or 1)
    cache = ""
    if ray is not None:
        from ..sweep.ray_pool import RayPool

        make = partial(RayPool, ray, workers, plan.space.devices)
    if storage is not None:
        cache = str(Path(tempfile.gettempdir()) / f"paring-sweep-{plan.output.resolve().name}")

    def say(sentence: str) -> None:
        if not quiet:
            errors.print(sentence, soft_wrap=True, highlight=False)

    with stages(quiet=True):  # for its hush alone
        return run(plan, say, make, storage or "", cache)


def _gate(recipe: Any) -> float | None:
    """The drop that the recipe allows on its images as they are."""
    drops = [one.max_drop for one in recipe.gates if one.metric == "top1" and one.corruption is None]
    return min((drop for drop in drops if drop is not None), default=None)
