"""`paring recipe`: the recipe's schema, and a check of a recipe without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api import extras
from .output import Json, console, print_json


def register(tree: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The recipe's schema and check.", no_args_is_help=True)
    group.command()(schema)
    group.command()(check)
    tree.add_typer(group, name="recipe")


def schema(json: Json = True) -> None:
    """Print the recipe's JSON Schema, for editors and for reading."""
    from ..recipe import recipe_schema

    with extras("a recipe's transforms"):
        print_json(recipe_schema())


def check(
    recipe: Annotated[Path, typer.Argument(help="a YAML recipe")],
    set_: Annotated[list[str] | None, typer.Option("--set", "-s", help="override a key")] = None,
    json: Json = False,
) -> None:
    """Check a recipe and print it with every default written out."""
    from ..recipe import dump_recipe, load_recipe

    with extras("a recipe's transforms"):
        whole = load_recipe(recipe, set_ or ())
    if not json:
        console.print(f"{recipe}: valid", soft_wrap=True, highlight=False)
    print_json(dump_recipe(whole))
