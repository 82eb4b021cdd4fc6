"""`paring spike-coverage`: what of a model would spike, stay in numbers, or not convert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from paring_runtimes.errors import RecipeError

from ..api import extras
from .output import Json, console, print_json, stages, table
from .recipe_options import Allow, Model, RecipeFile, Set, Weights, read

if TYPE_CHECKING:
    from ..spike_coverage import SpikeCoverage


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("spike-coverage")(spike_coverage)


def spike_coverage(
    model: Model = None,
    recipe: RecipeFile = None,
    set_: Set = None,
    coding: Annotated[
        Literal["constant", "rate", "latency"],
        typer.Option(help="of the input; rate and latency make spikes of it"),
    ] = "constant",
    weights: Weights = None,
    allow: Allow = None,
    json: Json = False,
) -> None:
    """Tell of each operation whether it would spike, before `-t spike_convert`."""
    with extras("looking at a model"), stages(json) as progress:
        from ..opening import open_source
        from ..sources import LoadedModel
        from ..spike_coverage import spike_coverage as run

        whole = read(recipe, set_, {"model": model, "weights": weights})
        source = open_source(whole, frozenset(allow or ()), progress)
        if not isinstance(source, LoadedModel):
            raise RecipeError(f"{whole.model}: no model of images")
        progress("looking at every operation")
        found = run(whole, source, coding)
    if json:
        print_json(found)
        return
    _show(found)


def _show(found: SpikeCoverage) -> None:
    rows = [(row.path, row.operation, row.verdict, f"{row.macs:,}", row.why) for row in found.operations]
    shape = "x".join(str(size) for size in found.input_shape)
    columns = ("module", "operation", "verdict", "MACs", "why")
    table(f"{found.model}, input {shape}, {found.coding} coding", columns, rows)
    verdict = "converts" if found.convertible else "does not convert as it is"
    console.print(
        f"spiking   {found.spiking_fraction:.1%} of {found.macs:,} MACs read spikes; the model {verdict}",
        soft_wrap=True,
        highlight=False,
    )
