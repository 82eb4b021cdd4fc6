"""`paring filter-layers`: which layer of a language model can filter its prompts (GemFilter)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paring_runtimes.artifact import read_manifest
from paring_runtimes.errors import RecipeError
from paring_runtimes.manifest import FILE_NAME

from ..api import extras
from .output import Json, console, print_json, stages, table
from .recipe_options import Allow

if TYPE_CHECKING:
    from ..language.filter_layers import FilterLayers


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command("filter-layers")(filter_layers)


def filter_layers(
    model: Annotated[str, typer.Argument(help="hf:PATH, gguf:FILE, or an artifact made of one")],
    k: Annotated[int, typer.Option(min=1, help="tokens that stay")] = 512,
    kernel: Annotated[int, typer.Option(min=1, help="neighbours whose scores are averaged, odd")] = 5,
    text: Annotated[
        Path | None, typer.Option(help="a UTF-8 text to hide needles in; default: a small one, repeated")
    ] = None,
    length: Annotated[
        list[int] | None, typer.Option(help="tokens of a prompt; may be repeated; default: 2 k")
    ] = None,
    depth: Annotated[
        list[float] | None, typer.Option(min=0, max=1, help="where the needle is; may be repeated")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="may be repeated")] = None,
    ask: Annotated[
        str, typer.Option(help="how prompts end: chat (its template, if any), question or sentence")
    ] = "chat",
    wanted: Annotated[float, typer.Option(min=0, max=1, help="recall that a layer must reach")] = 0.95,
    allow: Allow = None,
    json: Json = False,
) -> None:
    """Score each layer by how much of a hidden sentence it would keep: needle recall at k."""
    if kernel % 2 == 0:
        raise RecipeError(f"kernel: {kernel} must be odd")
    with extras("scoring the layers of a model"), stages(json) as progress:
        from ..data import TextData, load_data
        from ..language.filter_layers import Retrieval
        from ..language.filter_layers import filter_layers as run
        from ..sources import LoadedLanguageModel, load_model
        from ..transforms.gem_filter import Config

        spec, weights = _source(model)
        progress(f"loading {spec}")
        source = load_model(spec, weights=weights, allow=frozenset(allow or ()))
        if not isinstance(source, LoadedLanguageModel):
            raise RecipeError(f"{spec}: no language model")
        told = None if text is None else load_data(f"text:{text}")
        default = Retrieval(tuple(length or (2 * k,)))
        retrieval = Retrieval(
            default.lengths,
            tuple(depth or default.depths),
            tuple(seed or default.seeds),
            told.text if isinstance(told, TextData) else None,
            ask,
        )
        found = run(source, Config(k=k, kernel=kernel), retrieval, wanted, progress)
    if json:
        print_json(_without_text(found))
        return
    _show(found)


def _source(model: str) -> tuple[str, str | None]:
    """The spec and weights that an artifact was made of, or the spec itself."""
    if not (Path(model) / FILE_NAME).is_file():
        return model, None
    source = read_manifest(model).source
    if not isinstance(source.get("spec"), str):
        raise RecipeError(f"{model}: does not say what it was made of; give the model itself")
    return source["spec"], source.get("weights")


def _without_text(found: FilterLayers) -> FilterLayers:
    from dataclasses import replace

    return replace(found, retrieval=replace(found.retrieval, text=None))


def _show(found: FilterLayers) -> None:
    rows = [
        (
            str(one.layer),
            f"{one.recall:.3f}",
            f"{one.recall_ci95[0]:.3f} to {one.recall_ci95[1]:.3f}",
            f"{one.found_whole:.0%}",
            f"{one.first_pass:.0%}",
            "<" if one.layer == found.chosen else "",
        )
        for one in found.layers
    ]
    lengths = ", ".join(str(length) for length in found.retrieval.lengths)
    title = f"{found.model}: needle recall at k = {found.k}, {found.prompts} prompts of {lengths} tokens"
    columns = ("layer", "recall", "95 % interval", "whole needle", "layers run before", "")
    table(title, columns, rows)
    best = found.layers[found.chosen]
    verdict = "the earliest that reaches" if best.recall >= found.wanted else "the best: none reaches"
    console.print(
        f"layer {found.chosen} is {verdict} {found.wanted:g}; convert with -t gem_filter"
        f" -s gem_filter.k={found.k} -s gem_filter.layer={found.chosen}",
        soft_wrap=True,
        highlight=False,
    )
