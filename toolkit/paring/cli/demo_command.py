"""`paring demo`: the whole line on the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api import convert, extras, report
from .convert_command import show as show_converted
from .output import Json, console, print_json, stages
from .profile_command import measure
from .profile_command import show as show_profile

RECIPE = Path(__file__).parent.parent / "assets" / "demo.yaml"
BATCHES = (1, 8)


def register(tree: typer.Typer) -> None:
    """Add the command."""
    tree.command()(demo)


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder of the artifacts and the report")
    ] = Path("paring-demo"),
    json: Json = False,
) -> None:
    """Convert the embedded ViT, verify it, profile it before against after, and write the report."""
    import psutil

    from ..recipe import load_recipe

    with extras("the demo"):
        recipe = load_recipe(RECIPE)
    with stages(json) as progress:
        done = convert(recipe, output / "pruned", overwrite=True, progress=progress)
    if not json:
        show_converted(done)
    settings = {
        "batch_sizes": BATCHES,
        "threads": psutil.cpu_count(logical=False) or 1,
        "min_runs": 700,
        "min_seconds": 3.0,
        "max_seconds": 25.0,
    }
    paths = [str(done.baseline), str(done.artifact)]
    found = measure(paths, ["before", "after"], settings, json)
    written = report(found, output)
    if json:
        print_json({"converted": done, "profile": found, "report": str(written.html)})
        return
    show_profile(found)
    console.print(f"report    {written.html.resolve()}", soft_wrap=True, highlight=False)
