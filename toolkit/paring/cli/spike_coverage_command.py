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
    from ..transforms._spikes.bipolar.ledger import Ledger


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
    transform: Annotated[
        list[str] | None, typer.Option("--transform", "-t", help="spike_transformer, to be counted")
    ] = None,
    images: Annotated[
        int,
        typer.Option(
            min=0, help="run so many of data.source through spike_transformer, and count every operation"
        ),
    ] = 0,
    weights: Weights = None,
    allow: Allow = None,
    json: Json = False,
) -> None:
    """Tell of each operation whether it would spike, before `-t spike_convert` or `-t spike_transformer`."""
    with extras("looking at a model"), stages(json) as progress:
        from ..opening import open_source
        from ..sources import LoadedModel
        from ..spike_coverage import spike_coverage as run

        whole = read(recipe, set_, {"model": model, "weights": weights, "transforms": transform})
        source = open_source(whole, frozenset(allow or ()), progress)
        if not isinstance(source, LoadedModel):
            raise RecipeError(f"{whole.model}: no model of images")
        progress("looking at every operation")
        found = run(whole, source, coding, images, progress)
    if json:
        print_json(found)
        return
    _show(found)


def _show(found: SpikeCoverage) -> None:
    rows = [(row.path, row.operation, row.verdict, f"{row.macs:,}", row.why) for row in found.operations]
    shape = "x".join(str(size) for size in found.input_shape)
    columns = ("module", "operation", "verdict", "MACs", "why")
    how = f"{found.coding} coding" if found.method == "spike_convert" else "a current at the first step"
    table(f"{found.model} by {found.method}, input {shape}, {how}", columns, rows)
    verdict = "converts" if found.convertible else "does not convert as it is"
    console.print(
        f"spiking   {found.spiking_fraction:.1%} of {found.macs:,} MACs read spikes; the model {verdict}",
        soft_wrap=True,
        highlight=False,
    )
    if found.counted is not None:
        _show_counted(found.counted)


def _show_counted(ledger: Ledger) -> None:
    rows = [
        (
            path,
            *(f"{value:,.0f}" for value in (work.dense_macs, work.synops, work.macs, work.function_values)),
        )
        for path, work in ledger.layers.items()
    ]
    columns = ("in the blocks", "MACs, one pass", "synaptic operations", "MACs on reals", "function values")
    table(f"an image over T = {ledger.steps}, mean of {ledger.images}", columns, rows)
    last = f"the last spike fell at step {max(ledger.last)} of {ledger.steps}"
    for line in (
        f"counted   {ledger.verdict}",
        f"          {ledger.rate:.4f} spikes a neuron and step; {last}",
    ):
        console.print(line, soft_wrap=True, highlight=False)
