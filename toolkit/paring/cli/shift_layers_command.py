"""`paring shift-layers`: which layers bear power-of-two weights, measured one at a time."""

from __future__ import annotations

import json as json_library
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from paring_runtimes.errors import RecipeError

from ..api import extras
from .output import Json, console, print_json, stages, table
from .recipe_options import Allow, Model, RecipeFile, Set, Weights, read

if TYPE_CHECKING:
    from ..shift_layers import ShiftLayers


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("shift-layers")(shift_layers)


def shift_layers(
    data: Annotated[
        str | None, typer.Option(help="labelled images: embedded, npz:FILE, idx:FOLDER or folder:DIR")
    ] = None,
    model: Model = None,
    recipe: RecipeFile = None,
    transform: Annotated[
        list[str] | None, typer.Option("--transform", "-t", help="a step before shift_linear; repeatable")
    ] = None,
    bits: Annotated[int | None, typer.Option(min=4, max=5, help="of a weight")] = None,
    layers: Annotated[
        list[str] | None, typer.Option(help="layers to measure, as shift_linear.layers; default: all")
    ] = None,
    set_: Set = None,
    min_snr: Annotated[
        float, typer.Option(help="dB that the outputs must reach when a layer shifts alone")
    ] = 20.0,
    max_drop: Annotated[
        float | None, typer.Option(min=0, max=1, help="of top-1 accuracy by a layer alone, a share")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="use so many images, evenly spaced")] = None,
    weights: Weights = None,
    allow: Allow = None,
    json: Json = False,
) -> None:
    """Measure how much each layer alone bears, and say which take two terms or stay as they are."""
    steps = [*(transform or []), "shift_linear"] if recipe is None else transform
    measured = layers or (["all"] if recipe is None else None)
    flags = {
        "model": model,
        "weights": weights,
        "transforms": steps,
        "shift_linear.bits": bits,
        "shift_linear.layers": measured,
        "data.source": data,
        "data.limit": limit,
    }
    with extras("measuring layers"), stages(json) as progress:
        from ..shift_layers import Limits
        from ..shift_layers import shift_layers as run
        from ..sources import LoadedModel, load_model

        whole = read(recipe, set_, flags)
        if whole.model is None:
            raise RecipeError("model: missing; give one with -m")
        progress(f"loading {whole.model}")
        source = load_model(whole.model, weights=whole.weights, allow=frozenset(allow or ()), seed=whole.seed)
        if not isinstance(source, LoadedModel):
            raise RecipeError(f"{whole.model}: no model of images")
        found = run(whole, source, Limits(min_snr, max_drop), progress)
    if json:
        print_json(found)
        return
    _show(found)


def _show(found: ShiftLayers) -> None:
    rows = [
        (
            one.path,
            one.kind,
            f"{one.weights:,}",
            f"{one.snr_db:.1f}",
            f"{one.two_term_snr_db:.1f}",
            "" if one.drop is None else f"{100 * one.drop:+.2f}",
            "" if one.two_term_drop is None else f"{100 * one.two_term_drop:+.2f}",
            one.advice,
        )
        for one in found.layers
    ]
    title = f"{found.model}: each layer alone, {found.config.bits}-bit codes, {found.samples} images"
    columns = ("layer", "kind", "weights", "dB", "dB, two terms", "points lost", "two terms", "advice")
    table(title, columns, rows)
    console.print("in a recipe:", *recipe_lines(found), sep="\n", soft_wrap=True, highlight=False)


def recipe_lines(found: ShiftLayers) -> list[str]:
    """The step for a recipe: what differs from the defaults."""
    lines = ["transforms:", "  - shift_linear:"]
    for item in fields(found.config):
        value = getattr(found.config, item.name)
        if value != item.default or item.name == "layers":
            lines.append(f"      {item.name}: {json_library.dumps(value)}")
    return lines
