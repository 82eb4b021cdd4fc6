"""`paring mixture-costs`: what each expert of a mixture costs on this machine, as lines for a recipe."""

from __future__ import annotations

import json as json_library
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from paring_runtimes.errors import RecipeError

from ..api import extras
from .output import Json, console, print_json, stages, table
from .recipe_options import Allow, Model, RecipeFile, Set, Weights, read

if TYPE_CHECKING:
    from ..mixture_costs import MixtureCosts


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("mixture-costs")(mixture_costs)


def mixture_costs(
    model: Model = None,
    recipe: RecipeFile = None,
    set_: Set = None,
    threads: Annotated[int, typer.Option(min=1, help="of the engine")] = 2,
    min_runs: Annotated[int, typer.Option(min=1, help="timed rounds a shape, at least")] = 60,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="a shape, at most")] = 20.0,
    weights: Weights = None,
    allow: Allow = None,
    json: Json = False,
) -> None:
    """Time the experts of primitive_mixture for every layer shape of a model, in turn."""
    steps = ["primitive_mixture"] if recipe is None else None
    flags = {"model": model, "weights": weights, "transforms": steps}
    with extras("timing experts"), stages(json) as progress:
        from ..mixture_costs import FEW
        from ..mixture_costs import mixture_costs as run
        from ..sources import LoadedModel, load_model

        whole = read(recipe, set_, flags)
        if whole.model is None:
            raise RecipeError("model: missing; give one with -m")
        progress(f"loading {whole.model}")
        allowed, size = frozenset(allow or ()), whole.export.image_size
        source = load_model(
            whole.model, weights=whole.weights, allow=allowed, image_size=size, seed=whole.seed
        )
        if not isinstance(source, LoadedModel):
            raise RecipeError(f"{whole.model}: primitive_mixture needs a model that takes images alone")
        settings = replace(FEW, threads=threads, min_runs=min_runs, max_seconds=max_seconds)
        found = run(whole, source, settings, progress)
    if json:
        print_json(found)
        return
    _show(found)


def _show(found: MixtureCosts) -> None:
    rows = [
        (
            one.shape,
            str(one.layers),
            str(one.tokens),
            name,
            f"{timed.p50_ms:.4f}",
            f"{timed.p50_ci95_ms[0]:.4f} to {timed.p50_ci95_ms[1]:.4f}",
            f"{alpha:.3f}",
        )
        for one in found.shapes
        for name, timed, alpha in zip(found.experts, one.latency, one.alpha, strict=True)
    ]
    header = ("shape", "layers", "tokens", "expert", "p50, ms", "95 % interval, ms", "alpha")
    console.print(found.measured_on, soft_wrap=True, highlight=False)
    table(f"{found.model}: experts", header, rows)
    console.print("in a recipe:", *recipe_lines(found), sep="\n", soft_wrap=True, highlight=False)


def recipe_lines(found: MixtureCosts) -> list[str]:
    """The keys of the step that were measured, and the experts that they are of."""
    lines = ["transforms:", "  - primitive_mixture:"]
    for name in ("experts", "latency_ms", "measured_on"):
        lines.append(f"      {name}: {json_library.dumps(getattr(found.config, name))}")
    return lines
