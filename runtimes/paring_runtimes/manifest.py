"""The manifest of an artifact: what `manifest.json` says. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class TensorSpec:
    """One named input or output. A dimension is a fixed size or the name of a symbolic one."""

    name: str
    dtype: str  # numpy's name: "float32", "int64"
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, where it came from, and what was proved of it.

    The free-form fields hold JSON values:

    - `source`: `spec` ("timm:NAME"), `digest` (SHA-256 over the source's weights), `weights`,
      and `recovery` where the weights were trained after the transforms: `weights_sha256`, `accuracy`, ...
    - `recipe`: the recipe as it was run, every default written out.
    - `transforms`: a list of `{"name", "config"}`, in order.
    - `graph`: `parameters`, `tokens_per_layer` (list of int or null); where layers are mixtures,
      `expert_shares` (a list of `layer`, `experts`, `tokens`, `alpha`, `costs`, `preferred`); a language
      model's `task` ("text-generation") and `generation` (see `paring_runtimes.generation.language_model`).
    - `export`: `opset`, `precision`, `optimizer`, `dynamic`.
    - `parity`: the comparison with PyTorch, or null when it was not made.
    - `quality`: the task metric before and after, or null.
    - `tools`: versions by distribution name.
    """

    format: str  # "onnx"
    entry: str  # "model.onnx", relative to the folder
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: dict[str, str]  # relative name -> SHA-256, every file but the manifest
    source: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    transforms: list[dict[str, Any]] = field(default_factory=list)
    graph: dict[str, Any] = field(default_factory=dict)
    export: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None
    tools: dict[str, str] = field(default_factory=dict)
    created: str = ""  # ISO 8601, UTC
    schema_version: int = SCHEMA_VERSION
