"""The options by which a command is told its recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..recipe import Recipe

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="timm:NAME, hf:ID-OR-PATH, gguf:FILE, nir:FILE, spikegpt:FILE, py:FILE.py:FACTORY or embedded",
    ),
]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", "-r", help="a YAML recipe")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="override a key: token_prune.keep_ratio=0.5; repeatable"
    ),
]
Weights = Annotated[str | None, typer.Option(help="a safetensors file")]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="RISK", help="allow a risk by name: pickle, remote-code; repeatable"),
]


def read(recipe: Path | None, overrides: Sequence[str] | None, flags: Mapping[str, Any]) -> Recipe:
    """The recipe file (or an empty one), then the flags, then the overrides.

    Raises:
        RecipeError: with file, line and key.
    """
    from ..recipe import load_recipe, parse_recipe

    sets = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    sets += overrides or []
    if recipe is None:
        return parse_recipe("{}", "command line", sets)
    return load_recipe(recipe, sets)
