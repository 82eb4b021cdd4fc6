"""A space file for editors: its JSON Schema."""

from __future__ import annotations

from typing import Any

from paring.recipe import DIALECT, recipe_schema

from ._models import SpaceFile


def space_schema() -> dict[str, Any]:
    """The JSON Schema of a space file; its steps are a recipe's.

    Raises:
        MissingExtraError: PyTorch, which transforms are written in, is not installed.
    """
    schema, recipe = SpaceFile.model_json_schema(), recipe_schema()
    schema["$defs"] = {**recipe["$defs"], **schema.get("$defs", {})}
    group = schema["properties"]["transforms"]["additionalProperties"]
    group["additionalProperties"] = {"type": "array", "items": recipe["properties"]["transforms"]["items"]}
    return {"$schema": DIALECT, **schema}
