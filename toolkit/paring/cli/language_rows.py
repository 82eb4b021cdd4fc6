"""What `paring inspect` tells of a language model: its sizes, its graphs, the steps that drop tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paring_runtimes import Manifest
from paring_runtimes.generation.language_model import TASKS, LanguageModel, language_model


def language_rows(folder: Path, manifest: Manifest) -> list[list[str]]:
    """Rows of the manifest's table; none where the artifact is no language model's."""
    if manifest.graph.get("task") not in TASKS:
        return []
    model = language_model(folder, manifest)
    return [
        ["model", _sizes(model, _config(folder))],
        ["graphs", "\n".join(f"{what}: {file}" for what, file in _graphs(manifest, model))],
        ["stages", "\n".join(_stages(folder, manifest, model)) or "none: every token is read"],
    ]


def _sizes(model: LanguageModel, config: dict[str, Any]) -> str:
    if model.state is not None:
        count, width = len(model.state.initial), model.state.width
        return (
            f"{model.layers} layers that keep a state: {count} tensors of {width} in {model.dtype}\n"
            f"vocabulary {model.vocab_size:,}; no longest context; state {_state_bytes(model):,} bytes"
        )
    heads = config.get("num_attention_heads", config.get("n_head"))
    told = f"{heads} query heads, {model.kv_heads}" if heads else str(model.kv_heads)
    lines = [
        f"{model.layers} layers; {told} key-value heads of {model.head_dim}",
        f"vocabulary {model.vocab_size:,}; context {model.max_positions:,} tokens; cache {model.dtype}",
        f"cache {_row_bytes(model):,} bytes a token",
    ]
    if model.image is not None:
        height, width = model.image.size
        lines.append(f"image {height} x {width} pixels, {model.image.tokens} tokens")
    return "\n".join(lines)


def _state_bytes(model: LanguageModel) -> int:
    assert model.state is not None
    size = 4 if model.dtype == "float32" else 2
    return len(model.state.initial) * model.layers * model.state.width * size


def _row_bytes(model: LanguageModel) -> int:
    return 2 * model.layers * model.kv_heads * model.head_dim * (4 if model.dtype == "float32" else 2)


def _config(folder: Path) -> dict[str, Any]:
    """The source's own description of its language model, where the artifact holds it."""
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    inner = told.get("text_config", told) if isinstance(told, dict) else {}
    return inner if isinstance(inner, dict) else {}


def _graphs(manifest: Manifest, model: LanguageModel) -> list[tuple[str, str]]:
    image, step = model.image, model.in_place
    if image is not None:
        named = [("image encoder", image.encoder), ("embeddings", image.embed), ("prompt", image.prefill)]
    elif model.state is not None:
        named = [("one token", manifest.entry)]
    else:
        named = [("prompt and step, growing cache", manifest.entry)]
    named += [("prompt and step, in-place cache", step)] if step else []
    if model.filter is not None:
        files = model.filter.files
        named += [
            ("prompt filter", files[0] if len(files) == 1 else f"{files[0]} to {files[-1]}, a layer each")
        ]
    return named


def _stages(folder: Path, manifest: Manifest, model: LanguageModel) -> list[str]:
    from paring_profiles.generation.stages import stages

    lines = []
    if model.filter is not None:
        kept, layer = model.filter.k, model.filter.layer
        lines.append(f"filter: of more than {kept} prompt tokens {kept} are read; layer {layer} chooses them")
    found = [one for one in stages(folder, manifest.transforms, model, 0) if one.tokens == "image"]
    lines += [f"{one.transform} {one.place}: {one.before} -> {one.after} image tokens" for one in found]
    if model.image is not None and len(set(model.image.rows)) > 1:
        lines.append("image tokens in each layer's cache: " + " ".join(map(str, model.image.rows)))
    return lines
