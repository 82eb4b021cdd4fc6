"""`paring must-drop-budgets`: MustDrop's constant counts from its thresholds, by sample data."""

from __future__ import annotations

import dataclasses
import json as json_library
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paring_runtimes.errors import RecipeError

from ..api import extras
from .output import Json, console, print_json, stages, table
from .recipe_options import Allow, Model, RecipeFile, Set, Weights, read

if TYPE_CHECKING:
    from ..must_drop_budgets import StageBudgets


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("must-drop-budgets")(must_drop_budgets)


def must_drop_budgets(
    data: Annotated[
        Path,
        typer.Option(help="samples: a folder of images, JSON lines of image and prompt, or an .npz of both"),
    ],
    model: Model = None,
    recipe: RecipeFile = None,
    transform: Annotated[
        list[str] | None, typer.Option("--transform", "-t", help="a step before must_drop: window_merge")
    ] = None,
    set_: Set = None,
    prompt: Annotated[
        str | None, typer.Option(help="of samples without one; the image's token stands in it once")
    ] = None,
    quantile: Annotated[
        float, typer.Option(min=0, max=1, help="of the counts; 1 keeps what any sample's thresholds keep")
    ] = 1.0,
    similarity: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="find window_merge's r too: windows of at least this mean cosine; the paper's is 0.8",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="use so many samples, evenly spaced")] = None,
    weights: Weights = None,
    allow: Allow = None,
    json: Json = False,
) -> None:
    """Turn MustDrop's thresholds into one budget a stage, by what they keep on samples."""
    steps = [*(transform or []), "must_drop"] if recipe is None else transform
    flags = {"model": model, "weights": weights, "transforms": steps}
    with extras("running the thresholds"), stages(json) as progress:
        from ..image_prompts import read_image_prompts
        from ..must_drop_budgets import must_drop_budgets as run
        from ..sources import LoadedVisionLanguageModel, load_model

        whole = read(recipe, set_, flags)
        if whole.model is None:
            raise RecipeError("model: missing; give one with -m")
        samples = read_image_prompts(data, prompt, limit)
        progress(f"loading {whole.model}")
        source = load_model(whole.model, weights=whole.weights, allow=frozenset(allow or ()), seed=whole.seed)
        if not isinstance(source, LoadedVisionLanguageModel):
            raise RecipeError(f"{whole.model}: no vision-language model")
        found = run(whole, source, samples, quantile, similarity, progress)
    if json:
        print_json(found)
        return
    _show(found)


def _show(found: StageBudgets) -> None:
    rows = [
        (
            str(one.layer),
            str(one.least),
            f"{one.median:g}",
            f"{one.mean:.1f}",
            str(one.most),
            str(one.budget),
        )
        for one in found.stages
    ]
    windows = found.windows
    if windows is not None:
        console.print(
            f"of {windows.windows} windows, {windows.least} to {windows.most} reach {windows.similarity:g}"
            f" (median {windows.median:g}, mean {windows.mean:.1f}); {windows.config.r} merge",
            soft_wrap=True,
            highlight=False,
        )
    title = f"{found.model}: image tokens left of {found.image_tokens}, {len(found.counts)} samples"
    table(title, ("after layer", "least", "median", "mean", "most", "budget"), rows)
    console.print(
        f"averaged over the {found.layers} layers: {found.average_by_thresholds:.1f} image tokens by the"
        f" thresholds, {found.average_by_budgets:.1f} by the budgets (quantile {found.quantile:g});"
        f" {found.keys} never go",
        soft_wrap=True,
        highlight=False,
    )
    console.print("in a recipe:", *recipe_lines(found), sep="\n", soft_wrap=True, highlight=False)


def recipe_lines(found: StageBudgets) -> list[str]:
    """The steps for a recipe: what differs from their defaults, and what the counts hang on."""
    lines = ["transforms:"]
    if found.windows is not None:
        lines += _step_lines("window_merge", found.windows.config, ("r", "block"))
    always = ("layers", "budgets", "global_threshold", "individual_threshold")
    return lines + _step_lines("must_drop", found.config, always)


def _step_lines(name: str, config: Any, always: Sequence[str]) -> list[str]:
    lines = [f"  - {name}:"]
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if item.name in always or value != item.default:
            lines.append(f"      {item.name}: {json_library.dumps(value)}")
    return lines
