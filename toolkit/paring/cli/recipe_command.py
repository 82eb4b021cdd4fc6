"""`paring recipe`: the recipe's schema, and a check of a recipe without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api import extras
from .output import Json, errors, print_json
from .recipe_options import Set


def register(tree: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The recipe's schema and check.", no_args_is_help=True)
    group.command()(schema)
    group.command()(check)
    tree.add_typer(group, name="recipe")


def schema(
    space: Annotated[
        bool, typer.Option("--space", help="that of a sweep's space file", show_default=False)
    ] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="that of sweep.json", show_default=False)] = False,
    json: Annotated[bool, typer.Option("--json", help="as without: it is JSON", show_default=False)] = False,
) -> None:
    """Print the JSON Schema of a recipe, a sweep's space or its results, for editors and for reading."""
    from ..recipe import recipe_schema

    with extras("a recipe's transforms"):
        if sweep:
            from paring_profiles.sweep.schema import sweep_schema

            print_json(sweep_schema())
            return
        if space:
            from ..sweep import space_schema

            print_json(space_schema())
            return
        print_json(recipe_schema())


def check(
    recipe: Annotated[Path, typer.Argument(help="a YAML recipe")],
    set_: Set = None,
    json: Json = False,
) -> None:
    """Check a recipe and print it with every default written out."""
    from ..recipe import dump_recipe, load_recipe

    with extras("a recipe's transforms"):
        whole = load_recipe(recipe, set_ or ())
    if not json:
        errors.print(f"{recipe}: valid", soft_wrap=True, highlight=False)
    print_json(dump_recipe(whole))
