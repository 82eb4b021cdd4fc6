"""Tokens before and after each step of a transform, by what the manifest tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paring_profiles.result import Stage
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.language_model import FilterModel, LanguageModel

_BEFORE = ("window_merge", "query_compressor")  # the language model
_SERVES = {"tokens": "once for every question", "encoder": "anew for each question"}


def stages(
    folder: Path, steps: Sequence[Mapping[str, Any]], model: LanguageModel, prompt_tokens: int
) -> list[Stage]:
    """Return the steps in the order in which a prompt meets them.

    Args:
        folder: the artifact's.
        steps: the manifest's `transforms`.
        model: the manifest's `graph.generation`.
        prompt_tokens: of the prompt's text.
    """
    filtered = [] if model.filter is None else [_filtered(model.filter, prompt_tokens)]
    return filtered if model.image is None else filtered + _of_image(folder, steps, model.image)


def _of_image(folder: Path, steps: Sequence[Mapping[str, Any]], image: ImageFacts) -> list[Stage]:
    found = [
        _merged(step["config"], image, folder)
        if step["name"] == "window_merge"
        else _compressed(image, folder)
        for step in steps
        if step["name"] in _BEFORE
    ]
    dropping = [step for step in steps if step["name"] == "must_drop"]
    if dropping:
        return found + [stage for step in dropping for stage in _dropped(step, image)]
    name = next((str(step["name"]) for step in steps if step["name"] not in _BEFORE), "")
    return found + list(_by_rows(name, image))


def _filtered(facts: FilterModel, tokens: int) -> Stage:
    place = f"before the model, by layer {facts.layer}"
    return Stage("gem_filter", place, "prompt", tokens, min(tokens, facts.k))


def _merged(config: Mapping[str, Any], image: ImageFacts, folder: Path) -> Stage:
    """Windows of patches became one token each; `config.json` tells how many patches there were."""
    place = f"in the tower, after block {config['block']}"
    return Stage("window_merge", place, "image", _patches(folder, image), image.tokens)


def _compressed(image: ImageFacts, folder: Path) -> Stage:
    """Regions of patches became one token each."""
    place = f"between tower and language model, {_SERVES[image.reusable]}"
    return Stage("query_compressor", place, "image", _patches(folder, image), image.tokens)


def _patches(folder: Path, image: ImageFacts) -> int:
    """How many patches an image has; what is left of them where that is not told."""
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        patch = int(told["vision_config"]["patch_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return image.tokens
    return (image.size[0] // patch) * (image.size[1] // patch)


def _dropped(step: Mapping[str, Any], image: ImageFacts) -> Iterator[Stage]:
    before = image.tokens
    for layer, keep in zip(step["config"]["layers"], step["config"]["budgets"], strict=True):
        yield Stage("must_drop", f"after layer {layer}", "image", before, int(keep))
        before = int(keep)


def _by_rows(name: str, image: ImageFacts) -> Iterator[Stage]:
    """Wherever a layer's cache holds fewer image tokens than the layer's before it."""
    for layer, (before, after) in enumerate(zip(image.rows, image.rows[1:], strict=False)):
        if after != before:
            yield Stage(name, f"after layer {layer}", "image", before, after)
