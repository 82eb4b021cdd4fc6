"""What a sweep varies, as a YAML file beside the recipe.

::

    transforms:                      # steps to choose from; the groups' choices are joined in this order
      dropping:
        none: []
        prune: [{token_prune: {keep_ratio: 0.7}}]
      shift:
        none: []
        shift: [{shift_linear: {}}]
    keys:                            # as for --set
      export.precision: {choices: [fp32, int8]}
      token_prune.keep_ratio: {range: [0.5, 0.9], step: 0.1, when: {dropping: prune}}
    engine: [onnxruntime, openvino]

Every problem is reported at once, each with its file, line and key.
"""

from __future__ import annotations

from ._load import load_space, parse_space
from ._models import Key, SpaceFile
from ._points import Parameter, Point, Space, tidy
from ._schema import space_schema

__all__ = [
    "Key",
    "Parameter",
    "Point",
    "Space",
    "SpaceFile",
    "load_space",
    "parse_space",
    "space_schema",
    "tidy",
]
