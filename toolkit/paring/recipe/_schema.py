"""A recipe for other programs: its JSON Schema, and its JSON form with every default."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from ._models import Recipe
from ._steps import discovered, step_model

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema(transforms: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON Schema of a recipe file, each transform's keys included.

    Raises:
        MissingExtraError: `transforms` is not given, and PyTorch is not installed.
    """
    known = discovered() if transforms is None else transforms
    schema = Recipe.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    steps: list[dict[str, Any]] = [{"enum": sorted(known), "description": "with every default"}]
    for name in sorted(known):
        definitions[name] = step_model(name, known[name].Config).model_json_schema()
        options = [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]
        steps.append(
            {
                "type": "object",
                "properties": {name: {"anyOf": options}},
                "required": [name],
                "additionalProperties": False,
            }
        )
    schema["properties"]["transforms"] = {
        "type": "array",
        "items": {"anyOf": steps},
        "default": [],
        "description": "steps, in order",
    }
    return {"$schema": DIALECT, **schema}


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as a YAML file, every default written out; `load_recipe` reads it again."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = yaml.sort_base_mapping_type_on_output = False
    text = io.StringIO()
    yaml.dump(dump_recipe(recipe), text)
    return text.getvalue()


def dump_recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON values, every default written out; `build_recipe` reads it again."""
    body = recipe.model_dump(mode="json", exclude={"transforms"})
    steps = [{step.name: dataclasses.asdict(step.config)} for step in recipe.transforms]
    plain: dict[str, Any] = json.loads(json.dumps({**body, "transforms": steps}))
    return {name: plain[name] for name in Recipe.model_fields}
