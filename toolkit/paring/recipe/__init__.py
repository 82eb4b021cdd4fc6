"""A recipe: what to do to a model, as a YAML file.

::

    model: timm:vit_small_patch16_224
    transforms:
      - token_prune: {keep_ratio: 0.7, blocks: [4, 7, 10]}
    export: {precision: fp16}
    data: {source: "folder:photos", limit: 2000}
    gates:
      - {metric: top1, max_drop: 0.01, confidence: bound}

Every problem of a recipe is reported at once, each with its file, line and key.
"""

from __future__ import annotations

from ._load import build_recipe, load_recipe, parse_recipe
from ._models import PLACE, PROMPT, Data, Export, Gate, Recipe, Robustness, Step, Verify
from ._parts import Part
from ._problems import validated
from ._recover import Recover
from ._schema import DIALECT, dump_recipe, recipe_schema, recipe_yaml
from ._yaml import Document, file_text
from ._yaml import read as read_yaml

__all__ = [
    "DIALECT",
    "PLACE",
    "PROMPT",
    "Data",
    "Document",
    "Export",
    "Gate",
    "Part",
    "Recipe",
    "Recover",
    "Robustness",
    "Step",
    "Verify",
    "build_recipe",
    "dump_recipe",
    "file_text",
    "load_recipe",
    "parse_recipe",
    "read_yaml",
    "recipe_schema",
    "recipe_yaml",
    "validated",
]
